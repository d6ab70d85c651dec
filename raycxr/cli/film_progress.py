"""How work on many films shows itself: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

from raycxr.number_text import count

# Often enough to see that a job in a cluster is alive, seldom enough to read its log.
LINE_SECONDS = 30.0


class FilmProgress:
    """Told how many films are done, of how many; shows it on standard error while it is open.

    Parameters
    ----------
    verb : str
        Stands at the head of the bar and of every line.
    """

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.bar: tqdm[Any] | None = None
        self.first: tuple[float, int] | None = None
        self.done = self.total = 0
        self.told = time.monotonic()

    def __enter__(self) -> FilmProgress:
        if sys.stderr.isatty():
            self.bar = tqdm(desc=self.verb, unit="film", leave=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` films are dealt with."""
        now = time.monotonic()
        self.done, self.total = done, total
        if self.bar is not None:
            if self.first is None:
                # What an earlier call has done says nothing about the rate of this one.
                self.bar.initial = self.bar.n = done
            self.bar.total = total
            self.bar.update(done - self.bar.n)
        elif now - self.told >= LINE_SECONDS:
            started, before = self.first or (now, done)
            rate = f", {(done - before) / (now - started):.1f} a second" if done > before else ""
            print(f"{self.verb}: {done} of {count(total, 'film')}{rate}", file=sys.stderr, flush=True)
            self.told = now
        self.first = self.first or (now, done)
