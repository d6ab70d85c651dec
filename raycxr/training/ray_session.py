"""The surroundings of one worker of Ray Train, which keeps the checkpoints."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import PurePosixPath
from tempfile import mkdtemp
from threading import Event
from typing import TYPE_CHECKING, Any

import ray.train
import torch
from ray.train.torch import get_device
from torch import nn

from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex
from raycxr.dataset.loader import BatchLoader, TrainSampler
from raycxr.errors import DataError, RaycxrError
from raycxr.prediction.checkpoint import read_snapshot
from raycxr.prediction.snapshot import save_snapshot
from raycxr.runs.metric import default_mode
from raycxr.runs.record import MID_EPOCH_CHECKPOINT
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location
from raycxr.training.distributed import average_gradients, sum_over_workers
from raycxr.training.gauges import Gauges
from raycxr.training.progress import EpochProgress, SilentProgress
from raycxr.training.ray_channel import Channel, ChannelProgress
from raycxr.training.ray_metrics import RayGauges
from raycxr.training.resume_point import find_resume_point
from raycxr.training.session import checkpoint_time

if TYPE_CHECKING:
    from raycxr.training.ray_loader import RayLoader


class RaySession:
    """One worker of Ray Train; see `raycxr.training.session.Session`.

    Parameters
    ----------
    config : Config
    run : Location
        Folder of the run.
    channel : Channel
        To the driver.
    resume : bool
        Whether the run had been begun before this driver.
    """

    def __init__(self, config: Config, run: Location, channel: Channel, resume: bool) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.sync_batch_norm = config.train.sync_batch_norm
        self.config, self.run, self.channel, self.resume = config, run, channel, resume
        self.loader: RayLoader | None = None
        self.gauges: Gauges | None = RayGauges(run.name, self.rank) if config.tracking.prometheus else None
        self.progress: EpochProgress = ChannelProgress(channel) if self.rank == 0 else SilentProgress()
        # Ray writes what is not finite into its list of checkpoints as null, and could not read that list again.
        self.worst = -sys.float_info.max if default_mode(config.train.metric) == "max" else sys.float_info.max
        self.uploaded = Event()
        self.uploaded.set()
        on_gpu = config.resources.gpus_per_worker > 0
        self.device: torch.device = get_device() if on_gpu else torch.device("cpu")

    def wrap(self, model: nn.Module) -> nn.Module:
        """Model in DistributedDataParallel where there are several workers."""
        return average_gradients(model, self.device, self.world_size, self.sync_batch_norm)

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all workers."""
        return sum_over_workers(values, self.world_size)

    def latest_checkpoint(self) -> dict[str, Any] | None:
        """Snapshot that Ray Train registered last, also after a worker was lost; where it is damaged, one before it.

        While it is read nothing is written, so that all workers find the same.
        """
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None and not self.resume:
            return None
        if checkpoint is not None:
            try:
                return read_snapshot(self.run / PurePosixPath(checkpoint.path).name)
            except (DataError, MissingError):
                pass  # told by what looks for the one before
        return find_resume_point(self.run, self.progress.tell).snapshot

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        """Report an epoch; the snapshot is written and sent while the next epoch trains."""
        self._report({"value": value if math.isfinite(value) else self.worst, "epoch": entry["epoch"]}, snapshot, None)

    def report_mid_epoch(self, snapshot: Mapping[str, Any] | None) -> None:
        """Report how far an epoch is; the snapshot is written and sent while that goes on."""
        # It is the first that Ray lets go, once there is a newer one.
        self._report({"value": self.worst}, snapshot, f"{MID_EPOCH_CHECKPOINT}{checkpoint_time()}")

    def _report(self, metrics: dict[str, Any], snapshot: Mapping[str, Any] | None, name: str | None) -> None:
        if snapshot is None:
            ray.train.report(metrics, checkpoint_dir_name=name)
            return
        # One after the other: no more than one snapshot waits in memory, however slow storage is.
        self.uploaded.wait()
        self.uploaded.clear()
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint(mkdtemp()),
            checkpoint_dir_name=name,
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=_Upload(self, snapshot),
            delete_local_checkpoint_after_upload=True,
        )

    def stream(self, splits: SplitIndex, sampler: TrainSampler, pin_memory: bool) -> BatchLoader | None:
        """Batches of Ray Data, where the configuration asks for them."""
        if self.config.train.loader != "ray":
            return None
        from raycxr.training.ray_loader import RayLoader

        self.loader = RayLoader(self.config, splits, sampler, pin_memory)
        return self.loader

    def close(self) -> None:
        """End the stream of batches; Ray Train itself waits for the uploads when the loop returns."""
        if self.loader is not None:
            self.loader.close()


class _Upload:
    """Writes a snapshot into the run's folder, in the background and in one piece."""

    def __init__(self, session: RaySession, snapshot: Mapping[str, Any]) -> None:
        self.session, self.snapshot = session, snapshot

    def __call__(self, checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        folder = self.session.run / name
        try:
            save_snapshot(self.snapshot, folder)
        except RaycxrError as error:
            # Ray would train the epoch again, only to fail in the same way.
            self.session.channel.fail(error)
            raise
        finally:
            self.session.uploaded.set()
        filesystem, path = folder.filesystem()
        return ray.train.Checkpoint(path, filesystem)
