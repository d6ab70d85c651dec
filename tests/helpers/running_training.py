"""A `raycxr train` in a process of its own, that goes on while a test does something to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from ray_head import descendants

from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.runs.record import BEST, read_history
from raycxr.storage.location import Location

COMMAND = [sys.executable, "-c", "from raycxr.cli.main import main; main()", "train"]
LEARNED = ("epoch", "lr", "train", "validation", "best")


class RunningTraining:
    """A run that has been begun.

    Parameters
    ----------
    config : Path
    folder : Location
        Of the runs.
    name : str
        Of this one.
    overrides : str
        Further arguments.
    environment : mapping or None
        All variables of the process; None: this one's.
    """

    def __init__(
        self, config: Path, folder: Location, name: str, *overrides: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.place = folder / name
        arguments = [str(config), f"storage.uri={folder}", f"train.name={name}", *overrides, "--json"]
        self.errors = Path(os.environ["RAYCXR_CACHE"]) / f"{name}-{time.monotonic_ns()}.log"
        self.errors.parent.mkdir(parents=True, exist_ok=True)
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    def __enter__(self) -> RunningTraining:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it where the test has failed; the processes of its own cluster notice that."""
        self.process.kill()
        self.process.communicate()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 400
        while not ready():
            assert self.process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            time.sleep(0.02)

    def workers(self) -> list[int]:
        """Processes that train, where it has a cluster of its own."""
        return [pid for pid in descendants(self.process.pid) if b"RayTrainWorker" in _command_line(pid)]

    def epochs(self) -> int:
        return len(read_history(self.place))

    def end(self) -> tuple[int, Any]:
        """Its status and its answer."""
        out, _ = self.process.communicate(timeout=400)
        assert "Traceback" not in self.told, self.told
        assert out, self.told
        return self.process.returncode, json.loads(out)

    @property
    def told(self) -> str:
        """What it has written to standard error."""
        return self.errors.read_text()


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def learned(run: Location) -> list[dict[str, Any]]:
    """What depends on nothing but the configuration, of each epoch."""
    return [{key: entry[key] for key in LEARNED} for entry in read_history(run)]


def last_weights(run: Location) -> dict[str, torch.Tensor]:
    """Of the last epoch."""
    snapshots = [read_snapshot(folder) for folder in list_checkpoints(run)]
    weights: dict[str, torch.Tensor] = max(snapshots, key=lambda snapshot: snapshot["epoch"])["model"]
    return weights


def assert_same(one: Location, two: Location) -> None:
    """Two runs have learned the same, bit for bit."""
    assert learned(one) == learned(two)
    first, second = last_weights(one), last_weights(two)
    assert all(torch.equal(first[name], second[name]) for name in first)
    bundles = [(run / BEST / "model.safetensors").read_bytes() for run in (one, two)]
    assert bundles[0] == bundles[1]
