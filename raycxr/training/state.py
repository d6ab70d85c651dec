"""Everything that training changes: what a checkpoint saves, and what a resumed run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from raycxr.runs.record import now
from raycxr.training.average import EpochMean, WeightAverage
from raycxr.training.schedule import Schedule


@dataclass
class Progress:
    """How far a run is. `history` has one entry per finished epoch."""

    epoch: int = 0
    best_epoch: int | None = None
    best_value: float | None = None
    best_metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def advance(
        self, trained: dict[str, Any], metrics: dict[str, Any], value: float, best: bool, workers: int
    ) -> dict[str, Any]:
        """Count an epoch and return its new entry of the history.

        Parameters
        ----------
        trained, metrics : dict
            What `train_epoch` and `validate` returned.
        value : float
            The run's metric.
        best : bool
            Whether this is the best epoch so far.
        workers : int
            That have trained together; entered where they are others than in the epochs before.
        """
        self.epoch += 1
        entry = {
            "epoch": self.epoch,
            "time": now(),
            "lr": trained.pop("lr"),
            "train": trained,
            "validation": metrics,
            "best": best,
        }
        if workers != next((past["workers"] for past in reversed(self.history) if "workers" in past), None):
            entry["workers"] = workers
        if best:
            self.best_epoch, self.best_value, self.best_metrics = self.epoch, value, metrics
        self.history.append(entry)
        return entry


@dataclass
class TrainingState:
    """Model, optimizer, schedule, averages of the weights, gradient scaler and progress.

    There is no state of random generators in it: see `raycxr.training.mid_epoch`.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    average: WeightAverage | None
    scaler: torch.amp.GradScaler
    progress: Progress
    epoch_mean: EpochMean | None = None

    @property
    def validated(self) -> nn.Module:
        """The model that is validated and saved: the averaged one where there is one."""
        return self.model if self.average is None else self.average.model

    @property
    def models(self) -> list[nn.Module]:
        """The trained model, and the averaged one where there is one."""
        return [self.model] if self.average is None else [self.model, self.average.model]

    def snapshot(self) -> dict[str, Any]:
        """Copy of everything on the CPU, which training does not change any more."""
        progress, mean = self.progress, self.epoch_mean
        return {
            "model": _copy(self.model.state_dict()),
            "optimizer": _copy(self.optimizer.state_dict()),
            "schedule": self.schedule.state_dict(),
            "average": None if self.average is None else _copy(self.average.model.state_dict()),
            "average_steps": 0 if self.average is None else self.average.steps,
            # Before its first epoch the mean holds nothing.
            "epoch_mean": _copy(mean.model.state_dict()) if mean is not None and mean.epochs else None,
            "epoch_mean_epochs": 0 if mean is None else mean.epochs,
            "scaler": self.scaler.state_dict(),
            "epoch": progress.epoch,
            "best_epoch": progress.best_epoch,
            "best_value": progress.best_value,
            "best_metrics": progress.best_metrics,
            "history": list(progress.history),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Continue from a snapshot."""
        self.model.load_state_dict(snapshot["model"])
        self._restore_optimizer(snapshot["optimizer"])
        self.schedule.load_state_dict(snapshot["schedule"])
        self.scaler.load_state_dict(snapshot["scaler"])
        if self.average is not None:
            self.average.model.load_state_dict(snapshot["average"])
            self.average.steps = snapshot["average_steps"]
        if self.epoch_mean is not None and snapshot["epoch_mean_epochs"]:
            self.epoch_mean.model.load_state_dict(snapshot["epoch_mean"])
            self.epoch_mean.epochs = snapshot["epoch_mean_epochs"]
        self.progress = Progress(
            snapshot["epoch"],
            snapshot["best_epoch"],
            snapshot["best_value"],
            snapshot["best_metrics"],
            list(snapshot["history"]),
        )

    def _restore_optimizer(self, saved: dict[str, Any]) -> None:
        """Take the moments of a snapshot, and its options from the configuration.

        They differ only where population-based training has changed them.
        """
        groups = self.optimizer.param_groups
        options = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        self.optimizer.load_state_dict(saved)
        for group, kept in zip(self.optimizer.param_groups, options, strict=True):
            group.update(kept)


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(inner) for inner in value)
    return value
