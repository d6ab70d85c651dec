"""The queue of a sweep as Ray Tune asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from raycxr.tuning.proposals import Outcome
from raycxr.tuning.queue import Order, TrialQueue


class SweepSearcher(Searcher):  # type: ignore[misc]
    """Gives Ray Tune one trial after another, as long as there is room and the budget lasts.

    Parameters
    ----------
    queue : TrialQueue
    room : callable
        How many trials may have been given and not have ended, now.
    spent : callable
        Whether the budget is spent.
    """

    def __init__(
        self,
        queue: TrialQueue,
        room: Callable[[], int],
        spent: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.queue, self.room, self.spent = queue, room, spent
        self.running: dict[str, Order] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune writes what it is given to its notes, which no sweep is resumed from."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Next trial; None where it has to wait, FINISHED where there is none to come."""
        if self.spent():
            return str(Searcher.FINISHED)
        if len(self.running) >= self.room():
            return None
        order = self.queue.next()
        if order is None:
            return None if self.running else str(Searcher.FINISHED)
        self.running[trial_id] = order
        return order.describe()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Enter how a trial ended: by itself, at a rung, by the scheduler, or for want of a process."""
        order = self.running.pop(trial_id)
        known = result or {}
        ended, curve = known.get("ended"), tuple(known.get("curve", ()))
        failed = error or ended == "failed"
        self.queue.ended(order, Outcome(None if failed else known.get("value"), ended in (None, "stopped"), curve))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep that is resumed learns everything from its runs."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""
