"""A head that does not answer any more interrupts whatever waits for it."""

from __future__ import annotations

import signal
import socket
import threading

import pytest

from raycxr.cluster.head_watch import RAY_PATIENCE, watched_head
from raycxr.errors import ClusterLostError


def lose(head: socket.socket) -> None:
    """Wait for it without end, after it has gone."""
    with watched_head(f"127.0.0.1:{head.getsockname()[1]}"):
        head.close()
        threading.Event().wait()


def test_a_lost_head_interrupts_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RAY_PATIENCE, "1")
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(ClusterLostError, match="its head does not answer"):
        lose(socket.create_server(("127.0.0.1", 0)))
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_head_that_answers_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RAY_PATIENCE, "0.1")
    with (
        socket.create_server(("127.0.0.1", 0), backlog=8) as head,
        watched_head(f"127.0.0.1:{head.getsockname()[1]}"),
    ):
        # It looks every second.
        for _ in range(3):
            head.accept()[0].close()
