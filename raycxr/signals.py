"""Signals that end a verb: all as Ctrl-C does, whatever Ray makes of them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def end_by_sigterm_as_by_ctrl_c() -> None:
    """Let what Kubernetes and batch systems send before they kill end this process as tidily as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


@contextmanager
def kept_handler(number: signal.Signals) -> Iterator[None]:
    """Put a signal's handler back when the body ends, whatever handler the body has installed."""
    if threading.current_thread() is not threading.main_thread():
        # Python changes handlers in the main thread alone, so that the body cannot have done so.
        yield
        return
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    of_ctrl_c = signal.getsignal(signal.SIGINT)
    if not callable(of_ctrl_c):  # a shell lets its background jobs ignore Ctrl-C
        raise KeyboardInterrupt
    of_ctrl_c(signal.SIGINT, frame)
