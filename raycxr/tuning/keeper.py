"""Room in storage: losers keep their history, not their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from raycxr.runs.bundle import MARKER
from raycxr.runs.record import BEST, CHECKPOINT, MID_EPOCH_CHECKPOINT, RECORD
from raycxr.runs.sweep import ENDED, READERS, Trial
from raycxr.storage.location import Location
from raycxr.tuning.board import Board


class Keeper:
    """Takes the weights of ended trials away that are not the best ones.

    Parameters
    ----------
    sweep : Location
        Folder of the sweep.
    board : Board
    keep : {"best", "all"}
        `all` takes nothing away.
    may_go_on : callable
        Whether a candidate, by its number, that was stopped may still be trained further.
    """

    def __init__(
        self, sweep: Location, board: Board, keep: Literal["best", "all"], may_go_on: Callable[[int], bool]
    ) -> None:
        self.sweep, self.board, self.keep, self.may_go_on = sweep, board, keep, may_go_on
        self.bare: set[str] = set()

    def tidy(self, leave: set[str]) -> None:
        """Take weights away, but for those of some trials whose files may still be being written."""
        if self.keep == "all":
            return
        # A candidate that leads while it is trained may still fail: the best one of which nothing more comes stays.
        whole = [rows for _, rows in self.board.ranked() if all(row.status in ENDED for row in rows)]
        winners = {row.name for rows in whole[:1] for row in rows}
        # One that goes on writes weights again.
        self.bare -= {row.name for row in self.board.all if row.status not in ENDED}
        for row in self.board.all:
            if row.status in ENDED and row.name not in winners | leave | self.bare and self._is_decided(row.candidate):
                take_weights(self.sweep / row.name)
                self.bare.add(row.name)

    def _is_decided(self, candidate: int) -> bool:
        """Whether nothing more of a candidate comes."""
        rows = [row for row in self.board.all if row.candidate == candidate]
        first_ended_early = rows[0].status in ("stopped", "failed")
        if rows[0].status == "stopped" and self.may_go_on(candidate):
            return False
        return all(row.status in ENDED for row in rows) and (first_ended_early or len(rows) == self.board.members)


def take_weights(run: Location) -> None:
    """Delete the bundle and the checkpoints of a run, the bundle's marker first: nobody takes half of it for whole."""
    if not (run / RECORD).exists():
        return
    (run / BEST / MARKER).delete()
    (run / BEST).delete_tree()
    for place in run.list():
        if place.name.startswith((CHECKPOINT, MID_EPOCH_CHECKPOINT)):
            place.delete_tree()


def bare_trials(trials: Sequence[Trial]) -> set[str]:
    """Names of those that were stopped and have no weights to go on from."""
    stopped = [trial.location for trial in trials if trial.status == "stopped"]
    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(lambda run: any(place.name.startswith(CHECKPOINT) for place in run.list()), stopped)
    return {run.name for run, has_weights in zip(stopped, found, strict=True) if not has_weights}
