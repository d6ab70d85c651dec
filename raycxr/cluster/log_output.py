"""A log as it is passed on, and the last lines of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

LAST_LINES = 20


class LogOutput:
    """Passes a log on piece by piece.

    Parameters
    ----------
    write : callable
        Takes each piece.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self._lines: deque[str] = deque([""], maxlen=LAST_LINES)

    @property
    def last_lines(self) -> list[str]:
        """The last lines that are not empty."""
        return [line for line in self._lines if line]

    def take(self, text: str) -> None:
        """Pass a piece on, which may begin and end within a line."""
        if not text:
            return
        self.write(text)
        first, *others = text.split("\n")
        self._lines[-1] += first
        self._lines.extend(others)
