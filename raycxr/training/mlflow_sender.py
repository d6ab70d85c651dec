"""Sends a run to an MLflow server while it trains, in a thread of its own that nobody waits for.

The client takes a second to import and a server may take its time: neither the next epoch nor the files of the run
wait for them. The thread always sends the newest history, and with it whatever an earlier attempt could not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raycxr.training.mlflow_run import MlflowRun, reason_of

# Seconds that the end of a run waits for what is being sent: one request, as long as a server may take for it.
LAST_SECONDS = 15.0

History = Sequence[Mapping[str, Any]]


class MlflowSender:
    """The thread of one run.

    Parameters
    ----------
    run : MlflowRun
    tell : callable
        Is told once why the server cannot be written to.
    """

    def __init__(self, run: MlflowRun, tell: Callable[[str], None]) -> None:
        self.run, self.tell = run, tell
        self.changed = threading.Condition()
        self.newest: History | None = None
        self.closing = self.warned = False
        # Not waited for when the process ends: a server may hang.
        self.thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)
        self.thread.start()

    def send(self, history: History) -> None:
        """Have a history sent, which holds all epochs so far and is not changed any more."""
        with self.changed:
            self.newest = history
            self.changed.notify()

    def close(self) -> None:
        """Let what was given be sent, as far as the server takes it in time."""
        with self.changed:
            self.closing = True
            self.changed.notify()
        self.thread.join(LAST_SECONDS)

    def _follow(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.newest is not None or self.closing)
                history, self.newest = self.newest, None
            if history is None:
                return
            try:
                self.run.send(history)
            except Exception as error:  # whatever it is, training goes on
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self.warned:
            self.tell(
                f"MLflow at {self.run.uri} cannot be written to ({reason_of(error)}): training goes on, what is "
                "missing is sent once it can be"
            )
        self.warned = True
