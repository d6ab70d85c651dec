"""Whether the head of a cluster is still there, for a program that waits for it without end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from raycxr.errors import ClusterLostError

# Ray itself ends a program without a word when a head has been away for this long, 60 s unless it is set.
RAY_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
LOOK_SECONDS = 1.0


@contextmanager
def watched_head(address: str) -> Iterator[None]:
    """Within the body, raise where nobody has answered at an address for most of the time that Ray would wait.

    Parameters
    ----------
    address : str
        ``host:port`` of the head's control service.

    Raises
    ------
    ClusterLostError
        Out of whatever the body is doing.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python lets signals interrupt the main thread alone.
        yield
        return
    patience = 0.7 * float(os.environ.get(RAY_PATIENCE, "60"))
    ended = threading.Event()
    before = signal.signal(signal.SIGUSR1, _raise)
    threading.Thread(target=_watch, args=(address, patience, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        signal.signal(signal.SIGUSR1, before)


def _watch(address: str, patience: float, ended: threading.Event) -> None:
    host, _, port = address.rpartition(":")
    seen = time.monotonic()
    while not ended.wait(LOOK_SECONDS):
        try:
            socket.create_connection((host, int(port)), timeout=LOOK_SECONDS).close()
            seen = time.monotonic()
        except OSError:
            if time.monotonic() - seen > patience:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                return


def _raise(number: int, frame: FrameType | None) -> None:
    raise ClusterLostError("the Ray cluster of this run is gone: its head does not answer", "start it again")
