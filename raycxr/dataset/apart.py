"""Conversion in a process apart, for shards whose own process has died before.

A film can kill its decoder, or fill the memory. Ray starts the task of a dead process again and again, and each time
the same film would end it. The second time, each film is converted in a child: the one that kills it is known then.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

from raycxr.dataset.convert import Converted, Originals, Rules
from raycxr.sources.film import Film, Reject

Convert = Callable[[Film, Originals, Rules], Converted | Reject]


class Apart:
    """Runs a conversion in a child process, and in a new one after each that died.

    Parameters
    ----------
    convert : callable
        A function of a module.
    """

    def __init__(self, convert: Convert) -> None:
        self._convert = convert
        self._child: ProcessPoolExecutor | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.shutdown()

    def __call__(self, film: Film, originals: Originals, rules: Rules) -> Converted | Reject:
        """Convert a film; one that ends its process is a reject with the reason `decoder_died`."""
        if self._child is None:
            # A forked copy of a process with threads may hang; a fresh one does not.
            self._child = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_leave_ctrl_c)
        try:
            return self._child.submit(self._convert, film, originals, rules).result()
        except BrokenProcessPool:
            self._child.shutdown()
            self._child = None
            return Reject(film.uri, "decoder_died", "the process that converted the film died, twice")


def _leave_ctrl_c() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
