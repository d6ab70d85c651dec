"""What the first worker tells the driver while it trains: steps, epochs, and why it gave up.

Carried by the key-value store of the cluster's control service: no further process, no file on a shared disk.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Mapping
from typing import Any

from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from raycxr.errors import RaycxrError
from raycxr.training.progress import TerminalProgress

NAMESPACE = b"raycxr"
# Seconds between two messages about steps: a bar needs no more, and a GPU makes many steps a second.
STEP_INTERVAL = 0.3


class Channel:
    """Messages of one attempt at one run."""

    def __init__(self, attempt: str) -> None:
        self.attempt = attempt

    def put(self, key: str, value: bytes) -> None:
        """Leave a message."""
        _internal_kv_put(f"{self.attempt}:{key}".encode(), value, overwrite=True, namespace=NAMESPACE)

    def get(self, key: str) -> bytes | None:
        """Look for a message."""
        value: bytes | None = _internal_kv_get(f"{self.attempt}:{key}".encode(), namespace=NAMESPACE)
        return value

    def fail(self, error: RaycxrError) -> None:
        """Say that going on is pointless, however often Ray would try again."""
        self.put("failure", pickle.dumps(error))

    def failure(self) -> RaycxrError | None:
        """Why the worker gave up."""
        value = self.get("failure")
        return None if value is None else pickle.loads(value)


class ChannelProgress:
    """Progress of the first worker, sent through the channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.state: dict[str, int] = {}
        self.sent = 0.0
        self.told = 0

    def start(self, epoch: int, epochs: int, steps: int) -> None:
        """Send that an epoch begins."""
        self.state = {"epoch": epoch, "steps": steps, "step": 0}
        self._send()

    def step(self) -> None:
        """Count a step, and send it now and then."""
        self.state["step"] += 1
        if time.monotonic() - self.sent > STEP_INTERVAL:
            self._send()

    def end(self, entry: Mapping[str, Any], epochs: int) -> None:
        """Send the epoch's entry."""
        self.channel.put(f"epoch:{entry['epoch']}", json.dumps(entry).encode())

    def tell(self, line: str) -> None:
        """Send a line, after those of a worker whose place this one has taken."""
        self.told += 1
        while self.channel.get(f"line:{self.told}") is not None:
            self.told += 1
        self.channel.put(f"line:{self.told}", line.encode())

    def _send(self) -> None:
        self.channel.put("step", json.dumps(self.state).encode())
        self.sent = time.monotonic()


class ChannelDisplay:
    """Shows on the driver's terminal what comes through the channel."""

    def __init__(self, channel: Channel, epochs: int) -> None:
        self.channel, self.epochs = channel, epochs
        self.terminal = TerminalProgress()
        self.shown_epoch: int | None = None
        self.open_epoch = 0
        self.shown_lines = 0

    def poll(self) -> None:
        """Show what is new."""
        self._show_epochs()
        while (line := self.channel.get(f"line:{self.shown_lines + 1}")) is not None:
            self.terminal.tell(line.decode())
            self.shown_lines += 1

    def _show_epochs(self) -> None:
        message = self.channel.get("step")
        if message is None:
            return
        state = json.loads(message)
        if self.shown_epoch is None:
            # A resumed run starts at a later epoch than the first.
            self.shown_epoch = state["epoch"] - 1
        while (entry := self.channel.get(f"epoch:{self.shown_epoch + 1}")) is not None:
            self.terminal.end(json.loads(entry), self.epochs)
            self.shown_epoch += 1
        if state["epoch"] <= self.shown_epoch:
            return
        if state["epoch"] != self.open_epoch:
            self.terminal.start(state["epoch"], self.epochs, state["steps"])
            self.open_epoch = state["epoch"]
        self.terminal.move_to(state["step"])
