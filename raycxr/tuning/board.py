"""How far every trial of a sweep is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from raycxr.runs.metric import Mode
from raycxr.runs.sweep import ENDED, Trial
from raycxr.tuning.queue import Order
from raycxr.tuning.space import Parameters


@dataclass
class Row:
    """One trial.

    `epochs` are those of its whole training, `until` those after which it rests; `value` is the best so far, `latest`
    that of the last epoch. `status` is as in its record, or `waiting` before its process has taken it up.
    """

    name: str
    candidate: int
    member: str | None
    parameters: Parameters
    epochs: int
    until: int
    status: str = "waiting"
    epoch: int = 0
    value: float | None = None
    latest: float | None = None
    seconds: list[float] = field(default_factory=list)
    reason: str | None = None


class Board:
    """All trials of a sweep, by the name of the run.

    Parameters
    ----------
    metric, mode
        What is searched for.
    members : int
        Trials of each candidate.
    """

    def __init__(self, metric: str, mode: Mode, members: int) -> None:
        self.metric, self.mode, self.members = metric, mode, members
        self.rows: dict[str, Row] = {}

    @property
    def all(self) -> list[Row]:
        """All rows as they are now: a display reads them while others are added."""
        return list(self.rows.values())

    def add_earlier(self, trials: Sequence[Trial]) -> None:
        """Enter the trials of a sweep that goes on."""
        for trial in trials:
            row = Row(
                trial.location.name, trial.candidate, trial.member, trial.parameters, trial.epochs_planned,
                trial.epochs_planned, trial.status if trial.status in ENDED else "interrupted",
                trial.epochs, trial.value(self.metric, self.mode), None,
                [float(entry["seconds"]) for entry in trial.history], trial.reason,
            )  # fmt: skip
            self.rows[row.name] = row

    def add(self, order: Order, epochs: int) -> Row:
        """Enter a trial of this call, which may be one that goes on."""
        row = self.rows.get(order.name)
        if row is None:
            row = Row(order.name, order.candidate, order.member_name, order.parameters, epochs, epochs)
            self.rows[order.name] = row
        row.status, row.reason, row.until = "waiting", None, order.until or epochs
        return row

    def ranked(self) -> list[tuple[float, list[Row]]]:
        """Candidates of which every trial has a value and none failed, best first, with their mean."""
        groups: dict[int, list[Row]] = {}
        for row in self.all:
            groups.setdefault(row.candidate, []).append(row)
        valued = []
        for rows in groups.values():
            values = [row.value for row in rows if row.value is not None and row.status != "failed"]
            if len(values) == len(rows) == self.members:
                valued.append((statistics.fmean(values), rows))
        return sorted(valued, key=lambda item: item[0], reverse=self.mode == "max")

    def count(self, status: str) -> int:
        """Trials of a status."""
        return sum(row.status == status for row in self.all)

    @property
    def training_seconds(self) -> float:
        """Time that all epochs so far took, of all trials."""
        return sum(sum(row.seconds) for row in self.all)

    def seconds_left(self, epochs_to_come: float, at_once: int) -> float | None:
        """Time until the end, beside those at work for so many epochs; None before the first epoch has ended."""
        known = [second for row in self.all for second in row.seconds]
        if not known:
            return None
        begun = [row for row in self.all if row.status in ("running", "waiting")]
        left = sum(max(0, row.until - row.epoch) for row in begun) + epochs_to_come
        return left * statistics.fmean(known) / max(1, at_once)
