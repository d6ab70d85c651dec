"""Gradient descent, and its learning rate over the run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raycxr.config.section import Fraction, NonNegative, Positive, Section


class OptimizerSection(Section):
    """Gradient descent."""

    name: Literal["adamw", "adam", "sgd", "adadelta"] = "adamw"
    lr: Positive = Field(1e-3, description="learning rate at its peak")
    weight_decay: NonNegative = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="sgd only (Nesterov where above 0)")
    betas: tuple[float, float] = Field((0.9, 0.999), description="adamw and adam only")
    rho: Annotated[float, Field(gt=0, lt=1)] = Field(0.95, description="adadelta only")
    clip_norm: Positive | None = Field(1.0, description="largest norm of the whole gradient; null: no clipping")


class ScheduleSection(Section):
    """The learning rate over the run."""

    name: Literal["cosine", "one-cycle", "plateau", "constant"] = "cosine"
    warmup_epochs: NonNegative = Field(1.0, description="linear rise from 0: cosine, plateau and constant")
    final_fraction: Fraction = Field(0.0, description="cosine: last learning rate as a share of the peak")
    rise_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="one-cycle: share of steps that rise")
    patience: Annotated[int, Field(ge=1)] = Field(10, description="plateau: epochs without gain before a cut")
    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.3, description="plateau: what a cut multiplies by")
