"""Checkpoints within an epoch, and how a run goes on from one as if it had never stopped.

* Before each optimizer step torch is seeded anew from (seed, epoch, step, rank), so that dropout draws the same numbers
  whether or not the run was interrupted before: a checkpoint holds no state of random generators.
* What each worker has summed up of the epoch's loss is kept apart: floating-point numbers that are added up in another
  order come out otherwise.
* The order of the films is that of the epoch, whose first batches are left out.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from raycxr.config.train import TrainSection
from raycxr.prediction.snapshot import MID_EPOCH
from raycxr.training.session import Session
from raycxr.training.state import TrainingState

# Every so many steps the workers agree on what time it is; each time they wait for one another.
CLOCK_STEPS = 10


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed torch's generators for one optimizer step of one worker."""
    digest = hashlib.sha256(f"torch:{seed}:{epoch}:{step}:{rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class MidEpoch:
    """Where each epoch of one worker begins, and the checkpoints within it.

    Parameters
    ----------
    train : TrainSection
    session : Session
        This worker.
    steps_per_epoch : int
        Optimizer steps.
    snapshot : mapping or None
        Checkpoint that the run goes on from.
    further : dict
        What a checkpoint tells besides the state.

    Attributes
    ----------
    first_step : int
        Optimizer steps of the next epoch that are done already.
    images_before : int
        Films, over all workers, that the current epoch had trained on before this process took it up.
    """

    def __init__(
        self,
        train: TrainSection,
        session: Session,
        steps_per_epoch: int,
        snapshot: Mapping[str, Any] | None,
        further: dict[str, Any],
    ) -> None:
        self.train, self.session, self.steps_per_epoch = train, session, steps_per_epoch
        self.further = further
        saved = (snapshot or {}).get(MID_EPOCH)
        self.first_step: int = 0 if saved is None else saved["step"]
        self.sums_before: Tensor | None = None if saved is None else saved["sums"]
        self.images_before = 0
        self.last_saved = time.monotonic()
        if snapshot is not None and saved is not None:
            session.progress.tell(f"going on from step {saved['step']} of epoch {snapshot['epoch'] + 1}")

    def begin(self, sums: Tensor) -> int:
        """Begin an epoch, or go on with it.

        Parameters
        ----------
        sums : Tensor
            Zeros of this worker, (values,) float64, films first; what it had summed up before is entered.

        Returns
        -------
        int
            Optimizer steps of this epoch that are done already.
        """
        first, before = self.first_step, self.sums_before
        self.first_step, self.sums_before, self.images_before = 0, None, 0
        self.last_saved = time.monotonic()
        if before is not None:
            self.images_before = int(before[:, 0].sum())
            if len(before) == self.session.world_size:
                sums += before[self.session.rank].to(sums.device)
            elif self.session.rank == 0:
                sums += before.sum(dim=0).to(sums.device)
        return first

    def before_step(self, state: TrainingState, step: int) -> None:
        """Seed torch for an optimizer step of the epoch, counted from 0."""
        seed_step(self.train.seed, state.progress.epoch + 1, step, self.session.rank)

    def after_step(self, state: TrainingState, done: int, sums: Tensor) -> None:
        """Report a checkpoint where one is due, on every worker alike.

        Parameters
        ----------
        done : int
            Optimizer steps of the epoch that are done.
        sums : Tensor
            What this worker has summed up, (values,) float64.
        """
        # The last step is followed by the checkpoint of the epoch.
        if done == self.steps_per_epoch or not self._is_due(done):
            return
        of_all = torch.zeros(self.session.world_size, len(sums), dtype=sums.dtype, device=sums.device)
        of_all[self.session.rank] = sums
        of_all = self.session.add_up(of_all)
        snapshot = None
        if self.session.rank == 0:
            snapshot = state.snapshot() | self.further | {MID_EPOCH: {"step": done, "sums": of_all.cpu()}}
        self.session.report_mid_epoch(snapshot)
        self.last_saved = time.monotonic()

    def _is_due(self, done: int) -> bool:
        steps, minutes = self.train.checkpoint_steps, self.train.checkpoint_minutes
        if steps is not None and done % steps == 0:
            return True
        if minutes is None or done % CLOCK_STEPS:
            return False
        # Their clocks differ: the first worker's holds.
        is_time = self.session.rank == 0 and time.monotonic() - self.last_saved >= 60 * minutes
        return bool(self.session.add_up(torch.tensor([float(is_time)], device=self.session.device)).item())
