"""Learning rates over a run, as a factor of the configured rate."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer

from raycxr.config.optimizer import ScheduleSection
from raycxr.runs.metric import Mode, is_better

# Start and end of a one-cycle run as shares of its peak (Smith & Topin 2018, as torch's OneCycleLR has them).
ONE_CYCLE_START, ONE_CYCLE_END = 1 / 25, 1 / 250_000


def factor_at(section: ScheduleSection, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Factor of the learning rate at an optimizer step, counted from 0; plateau's own cuts come on top."""
    total = steps_per_epoch * epochs
    if section.name == "one-cycle":
        rise = max(1.0, section.rise_fraction * total)
        if step < rise:
            return _cosine(ONE_CYCLE_START, 1.0, step / rise)
        return _cosine(1.0, ONE_CYCLE_END, (step - rise) / max(1.0, total - 1 - rise))
    warmup = section.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if section.name == "cosine":
        return _cosine(1.0, section.final_fraction, (step - warmup) / max(1.0, total - 1 - warmup))
    return 1.0


class Schedule:
    """Sets the optimizer's learning rates before each step."""

    def __init__(
        self, section: ScheduleSection, optimizer: Optimizer, steps_per_epoch: int, epochs: int, mode: Mode
    ) -> None:
        self.section, self.optimizer = section, optimizer
        self.steps_per_epoch, self.epochs = steps_per_epoch, epochs
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        self.plateau_factor = 1.0
        self.mode = mode
        self.best: float | None = None
        self.stale_epochs = 0

    def before_step(self, step: int) -> float:
        """Set the learning rate of an optimizer step (counted from 0 over the run) and return it."""
        factor = factor_at(self.section, step, self.steps_per_epoch, self.epochs) * self.plateau_factor
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        return self.peaks[0] * factor

    def after_epoch(self, value: float) -> None:
        """Plateau: cut the rate when the validation metric has not gained for `patience` epochs."""
        if self.section.name != "plateau":
            return
        if is_better(value, self.best, self.mode):
            self.best, self.stale_epochs = value, 0
            return
        self.stale_epochs += 1
        if self.stale_epochs >= self.section.patience:
            self.plateau_factor *= self.section.factor
            self.stale_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"plateau_factor": self.plateau_factor, "best": self.best, "stale_epochs": self.stale_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a checkpoint was."""
        self.plateau_factor, self.best = state["plateau_factor"], state["best"]
        self.stale_epochs = state["stale_epochs"]


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
