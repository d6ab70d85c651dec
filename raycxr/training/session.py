"""What the training loop needs of its surroundings, and the surroundings of a run in this process."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol

import torch
from torch import nn

from raycxr.dataset.films import SplitIndex
from raycxr.dataset.loader import BatchLoader, TrainSampler
from raycxr.prediction.snapshot import save_snapshot
from raycxr.runs.metric import Mode
from raycxr.runs.record import CHECKPOINT, MID_EPOCH_CHECKPOINT
from raycxr.storage.location import Location
from raycxr.training.gauges import Gauges
from raycxr.training.progress import EpochProgress, TerminalProgress
from raycxr.training.resume_point import find_resume_point


class Session(Protocol):
    """Workers, checkpoints and progress of one run.

    Attributes
    ----------
    rank, world_size : int
        This worker and how many there are.
    device : torch.device
        Where this worker computes.
    progress : EpochProgress
        Where rank 0 shows how far it is.
    gauges : Gauges or None
        Where this worker shows its speed.
    """

    rank: int
    world_size: int
    device: torch.device
    progress: EpochProgress
    gauges: Gauges | None

    def wrap(self, model: nn.Module) -> nn.Module:
        """Model whose gradients are averaged over the workers."""

    def stream(self, splits: SplitIndex, sampler: TrainSampler, pin_memory: bool) -> BatchLoader | None:
        """Training batches that come from other nodes; None where processes beside this worker make them."""

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all workers."""

    def latest_checkpoint(self) -> dict[str, Any] | None:
        """Snapshot to continue from, and not an earlier one without a word."""

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        """Report a finished epoch on every rank; rank 0 gives the snapshot to save."""

    def report_mid_epoch(self, snapshot: Mapping[str, Any] | None) -> None:
        """Report how far an epoch is, on every rank; rank 0 gives the snapshot to save until the next one is whole."""

    def close(self) -> None:
        """Wait until everything reported is in storage."""


def checkpoint_time() -> str:
    """Time for the name of a checkpoint, in the form that Ray Train has."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S.%f}"


class LocalSession:
    """One worker in this process; checkpoints are written in the background.

    Parameters
    ----------
    run : Location
        Folder of the run.
    num_to_keep : int
        Checkpoints kept beside the latest, the best ones by the run's metric.
    mode : {"min", "max"}
        Which way the metric is better.
    resume : bool
        Whether to continue from the latest checkpoint.
    progress : EpochProgress or None
        Where to show how far it is; None: on standard error.
    """

    rank = 0
    world_size = 1
    gauges: Gauges | None = None

    def __init__(
        self, run: Location, num_to_keep: int, mode: Mode, resume: bool, progress: EpochProgress | None = None
    ) -> None:
        self.run, self.num_to_keep, self.mode, self.resume = run, num_to_keep, mode, resume
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.progress = progress or TerminalProgress()
        self.writer = ThreadPoolExecutor(1)
        self.pending: Future[None] | None = None
        self.kept: list[tuple[float, Location]] = []
        # Those within an epoch, which the next one of any kind replaces.
        self.passing: list[Location] = []

    def wrap(self, model: nn.Module) -> nn.Module:
        """Nothing to average over."""
        return model

    def stream(self, splits: SplitIndex, sampler: TrainSampler, pin_memory: bool) -> BatchLoader | None:
        """Nobody else to make batches."""
        return None

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Nothing to add."""
        return values

    def latest_checkpoint(self) -> dict[str, Any] | None:
        """Snapshot of the last checkpoint that was written whole, and is whole still."""
        if not self.resume:
            return None
        found = find_resume_point(self.run, self.progress.tell)
        self.kept, self.passing = found.of_epochs, found.mid_epoch
        return found.snapshot

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        """Start writing the checkpoint, after the one before is done."""
        self._wait()
        if snapshot is not None:
            self.pending = self.writer.submit(self._write, snapshot, value)

    def report_mid_epoch(self, snapshot: Mapping[str, Any] | None) -> None:
        """Start writing the checkpoint, after the one before is done."""
        self._wait()
        if snapshot is not None:
            self.pending = self.writer.submit(self._write_mid_epoch, snapshot)

    def close(self) -> None:
        """Wait for the last checkpoint."""
        self._wait()
        self.writer.shutdown()

    def _wait(self) -> None:
        # Forgotten first: what went wrong is told once.
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def _write_mid_epoch(self, snapshot: Mapping[str, Any]) -> None:
        folder = self.run / f"{MID_EPOCH_CHECKPOINT}{checkpoint_time()}"
        save_snapshot(snapshot, folder)
        self._let_pass()
        self.passing.append(folder)

    def _let_pass(self) -> None:
        """Delete those within an epoch, now that a newer one is whole."""
        while self.passing:
            self.passing.pop().delete_tree()

    def _write(self, snapshot: Mapping[str, Any], value: float) -> None:
        folder = self.run / f"{CHECKPOINT}{checkpoint_time()}"
        save_snapshot(snapshot, folder)
        self._let_pass()
        self.kept.append((value, folder))
        ranked = sorted(self.kept[:-1], key=lambda item: item[0], reverse=self.mode == "max")
        for item in ranked[self.num_to_keep :]:
            item[1].delete_tree()
            self.kept.remove(item)
