"""Training of one fold: the head on frozen features, or the whole classifier on films."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from raycxr.config.sections import Config
from raycxr.errors import TrainingError
from raycxr.metrics.auc import auc
from raycxr.prediction.compute import Compute
from raycxr.runs.metric import is_better
from raycxr.runs.record import now
from raycxr.training.mid_epoch import seed_step
from raycxr.training.optimizer import build_optimizer
from raycxr.training.schedule import Schedule

# Inputs of the trained module, and labels (B,) float32.
Batches = Iterable[tuple[Tensor, Tensor]]


class TrainBatches(Protocol):
    """Training batches of every epoch."""

    def __len__(self) -> int:
        """Optimizer steps per epoch."""

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of an epoch, counted from 1."""


@dataclass(frozen=True)
class Fitted:
    """A module with the weights of its best epoch, and one entry of the history per epoch."""

    module: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int


def fit(
    module: nn.Module,
    train: TrainBatches,
    validation: Callable[[], Batches],
    config: Config,
    seed: int,
    compute: Compute,
    tell_epoch: Callable[[dict[str, Any]], None],
) -> Fitted:
    """Train until the loss on validation has not gained for `classify.patience` epochs.

    Parameters
    ----------
    module : nn.Module
        Inputs to logits (B,), on its device.
    tell_epoch : callable
        Called with each entry of the history.

    Raises
    ------
    TrainingError
        The loss is not finite any more.
    """
    section = config.classify
    assert section is not None
    optimizer = build_optimizer(config.optimizer, module)
    schedule = Schedule(config.schedule, optimizer, len(train), section.epochs, "min")
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.autocast_dtype == torch.float16)
    history: list[dict[str, Any]] = []
    best: float | None = None
    best_epoch, weights = 0, _copy(module)
    for epoch in range(1, section.epochs + 1):
        started = time.perf_counter()
        seed_step(seed, epoch, 0, 0)
        module.train()
        total, seen, rate = 0.0, 0, 0.0
        for number, (inputs, labels) in enumerate(train.epoch(epoch)):
            rate = schedule.before_step((epoch - 1) * len(train) + number)
            optimizer.zero_grad(set_to_none=True)
            with compute.autocast():
                logits = module(inputs)
            loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if config.optimizer.clip_norm is not None:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(module.parameters(), config.optimizer.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            total += float(loss.detach()) * len(labels)
            seen += len(labels)
        measured = _validate(module, validation(), compute)
        if not np.isfinite([total, measured["loss"]]).all():
            raise TrainingError(
                f"the loss became {total / seen:g} in training and {measured['loss']:g} in validation in epoch {epoch}",
                "lower optimizer.lr, set optimizer.clip_norm, or set train.precision=fp32",
            )
        schedule.after_epoch(measured["loss"])
        gained = is_better(measured["loss"], best, "min")
        if gained:
            best, best_epoch, weights = measured["loss"], epoch, _copy(module)
        history.append(
            {
                "epoch": epoch,
                "time": now(),
                "lr": rate,
                "train": {"loss": total / seen},
                "validation": measured,
                "best": gained,
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
        tell_epoch(history[-1])
        if section.patience is not None and epoch - best_epoch >= section.patience:
            break
    module.load_state_dict(weights)
    return Fitted(module.eval(), history, best_epoch)


@torch.no_grad()
def predict(module: nn.Module, batches: Batches, compute: Compute) -> NDArray[np.float64]:
    """Probabilities (N,) of all films of the batches, in order."""
    return torch.cat([logits.sigmoid() for logits, _ in _logits(module, batches, compute)]).double().numpy()


def fold_seed(seed: int, fold: str) -> int:
    """Seed of a fold's initial weights, order and augmentation, 0..2^31 - 1: the same whatever was trained before."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{fold}".encode()).digest()[:4], "little") >> 1


@torch.no_grad()
def _validate(module: nn.Module, batches: Batches, compute: Compute) -> dict[str, float]:
    pairs = list(_logits(module, batches, compute))
    logits, labels = torch.cat([logits for logits, _ in pairs]), torch.cat([labels for _, labels in pairs])
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    return {"loss": float(loss), "auc": auc(logits.numpy(), labels.numpy() > 0.5)}


def _logits(module: nn.Module, batches: Batches, compute: Compute) -> Iterator[tuple[Tensor, Tensor]]:
    module.eval()
    for inputs, labels in batches:
        with compute.autocast():
            logits = module(inputs)
        yield logits.float().cpu(), labels.cpu()


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
