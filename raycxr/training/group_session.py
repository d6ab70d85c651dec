"""The surroundings of one of several workers that train run after run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import nn

from raycxr.config.sections import Config
from raycxr.runs.metric import default_mode
from raycxr.storage.location import Location
from raycxr.training.distributed import average_gradients, sum_over_workers
from raycxr.training.progress import SilentProgress
from raycxr.training.session import LocalSession


class GroupSession(LocalSession):
    """A worker of an initialised process group. The first one writes checkpoints as a run in one process does.

    Parameters
    ----------
    config : Config
    run : Location
        Folder of the run.
    device : torch.device
        Where this worker computes.
    resume : bool
        Whether to continue from the latest checkpoint.
    """

    def __init__(self, config: Config, run: Location, device: torch.device, resume: bool) -> None:
        train = config.train
        super().__init__(run, train.num_to_keep, default_mode(train.metric), resume, SilentProgress())
        self.rank = torch.distributed.get_rank()
        self.world_size = torch.distributed.get_world_size()
        self.device, self.sync_batch_norm = device, train.sync_batch_norm

    def wrap(self, model: nn.Module) -> nn.Module:
        """Model in DistributedDataParallel."""
        return average_gradients(model, self.device, self.world_size, self.sync_batch_norm)

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all workers."""
        return sum_over_workers(values, self.world_size)

    def latest_checkpoint(self) -> dict[str, Any] | None:
        """Snapshot of the last checkpoint that was written whole; every worker reads the same."""
        snapshot = super().latest_checkpoint()
        # The first worker must not begin to replace checkpoints that another one still reads.
        torch.distributed.barrier()
        return snapshot

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        """Start writing the checkpoint on the first worker, which alone has a snapshot."""
        super().report(entry, value, snapshot if self.rank == 0 else None)
