"""How a sweep shows itself: a table that lives on a terminal, one line for each thing that happens elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table

from raycxr.number_text import count, duration
from raycxr.runs.sweep import parameter_text, short
from raycxr.tuning.board import Board, Row

# Trials that a table on a terminal has room for.
MOST_ROWS = 16
# Characters of a parameter's value.
MOST_CHARACTERS = 24
REFRESH_SECONDS = 0.5
STATES = ("finished", "stopped", "failed", "running", "waiting", "interrupted")


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    name: str
    cells: list[str]
    justify: Literal["left", "right"] = "left"

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(len(text) for text in (self.name, *self.cells))


class SweepDisplay:
    """Shows a board on standard error while it is open.

    Parameters
    ----------
    board : Board
    keys : sequence of str
        Parameters, in the order in which they are shown.
    seconds_left : callable
        Estimate of the time until the end, None while there is none.
    """

    def __init__(self, board: Board, keys: list[str], seconds_left: Callable[[], float | None]) -> None:
        self.board, self.keys, self.seconds_left = board, keys, seconds_left
        self.live: Live | None = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._refresh, daemon=True)

    def __enter__(self) -> SweepDisplay:
        if sys.stderr.isatty():
            console = Console(stderr=True)
            self.live = Live(self.table(console.width), console=console, auto_refresh=False, transient=True)
            self.live.start()
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.done.set()
            self.thread.join()
            self.live.stop()

    def tell(self, line: str) -> None:
        """Say what happened; above the table where there is one."""
        if self.live is not None:
            self.live.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def epoch(self, row: Row) -> None:
        """An epoch has ended: a line where there is no table to see it in."""
        if self.live is None:
            self.tell(f"{row.name}  epoch {row.epoch}/{row.epochs}  {self._named(row.latest)}{self._time_left()}")

    def begin(self, row: Row) -> None:
        """A trial has begun, or goes on."""
        if self.live is None:
            going_on = f"  goes on after {count(row.epoch, 'epoch')}" if row.epoch else ""
            self.tell(f"{row.name}  {self.parameters(row)}{going_on}")

    def end(self, row: Row) -> None:
        """A trial has ended, or rests."""
        reason = f": {row.reason}" if row.reason else ""
        status = "rests" if row.status == "stopped" and row.until < row.epochs else row.status
        self.tell(f"{row.name}  {status} after {count(row.epoch, 'epoch')}, best {self._named(row.value)}{reason}")

    def parameters(self, row: Row) -> str:
        """Parameters of a trial in one line."""
        return "  ".join(f"{short(key)} {parameter_text(row.parameters[key])}" for key in self.keys
                         if key in row.parameters)  # fmt: skip

    def table(self, width: int) -> Table:
        """The best trials and those that are running, with as many parameters as find room in so many characters."""
        board, rows = self.board, self._shown()
        counts = ", ".join(f"{board.count(state)} {state}" for state in STATES if board.count(state))
        names = Column("trial", [row.name for row in rows])
        reached = [
            Column("epoch", [f"{row.epoch}/{row.epochs}" for row in rows], "right"),
            Column(board.metric, ["-" if row.value is None else f"{row.value:.4f}" for row in rows], "right"),
            Column("state", [row.status for row in rows]),
        ]
        room = width - sum(column.width + 1 for column in (names, *reached))
        parameters: list[Column] = []
        for key in self.keys:
            values = [parameter_text(row.parameters[key]) if key in row.parameters else "" for row in rows]
            column = Column(short(key), [_cut(value) for value in values])
            if column.width + 1 <= room:
                parameters.append(column)
                room -= column.width + 1
        columns = [names, *parameters, *reached]
        # Without lines, so that more parameters find room.
        table = Table(title=f"{counts or 'no trial yet'}{self._time_left()}", title_justify="left", box=None,
                      padding=(0, 1, 0, 0))  # fmt: skip
        for column in columns:
            table.add_column(column.name, justify=column.justify, no_wrap=True)
        for number in range(len(rows)):
            table.add_row(*(column.cells[number] for column in columns))
        return table

    def _shown(self) -> list[Row]:
        rows = self.board.all
        sign = -1 if self.board.mode == "max" else 1
        by_value = sorted(rows, key=lambda row: (row.value is None, sign * (row.value or 0.0)))
        at_work = [row for row in by_value if row.status in ("running", "waiting")]
        others = [row for row in by_value if row not in at_work]
        shown = [*at_work[:MOST_ROWS], *others[: max(0, MOST_ROWS - len(at_work))]]
        return [row for row in by_value if row in shown]

    def _named(self, value: float | None) -> str:
        return f"{self.board.metric} {'-' if value is None else f'{value:.4f}'}"

    def _time_left(self) -> str:
        seconds = self.seconds_left()
        return "" if seconds is None or seconds < 1 else f"  about {duration(seconds)} left"

    def _refresh(self) -> None:
        assert self.live is not None
        while not self.done.wait(REFRESH_SECONDS):
            self.live.update(self.table(self.live.console.width), refresh=True)


def _cut(value: str) -> str:
    return value if len(value) <= MOST_CHARACTERS else f"{value[: MOST_CHARACTERS - 1]}…"
