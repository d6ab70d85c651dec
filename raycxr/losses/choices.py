"""The losses that a configuration can name, for each kind of target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import nn

from raycxr.errors import ConfigurationError
from raycxr.losses.bce import BinaryCrossEntropy
from raycxr.losses.cross_entropy import CrossEntropy
from raycxr.losses.dice import SoftDice
from raycxr.losses.target import Target
from raycxr.losses.weighted_sum import WeightedSum

LOSSES: dict[Target, dict[str, Callable[[], nn.Module]]] = {
    "multilabel": {
        "bce": BinaryCrossEntropy,
        "dice": lambda: SoftDice("multilabel", per_image=True),
        "batch_dice": lambda: SoftDice("multilabel", per_image=False),
    },
    "multiclass": {
        "cross_entropy": CrossEntropy,
        "dice": lambda: SoftDice("multiclass", per_image=True),
        "batch_dice": lambda: SoftDice("multiclass", per_image=False),
    },
}


def build_loss(weights: Mapping[str, float], target: Target) -> WeightedSum:
    """Return the weighted sum of named losses, such as ``{"bce": 1, "dice": 1}``.

    Parameters
    ----------
    weights : mapping of str to float
        Loss name -> weight, 0 or above and not all 0; a loss of weight 0 is left out.
    target : {"multilabel", "multiclass"}
        What the module is called with beside logits (B, C, H, W): masks (B, C, H, W) or labels (B, H, W).

    Raises
    ------
    ConfigurationError
        Unknown name, a loss for the other kind of target, or weights that make no sum.
    """
    for name, weight in weights.items():
        _check_name(name, target)
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigurationError(f"loss.{name} = {weight} is not a weight", "choose a number of 0 or above")
    used = {name: float(weight) for name, weight in weights.items() if weight > 0}
    if not used:
        raise ConfigurationError("loss: no loss has a weight above 0", "give one, such as loss: {dice: 1}")
    return WeightedSum({name: LOSSES[target][name]() for name in used}, used)


def _check_name(name: str, target: Target) -> None:
    if name in LOSSES[target]:
        return
    choices = f"choose among {', '.join(LOSSES[target])}"
    other: Target = "multiclass" if target == "multilabel" else "multilabel"
    if name in LOSSES[other]:
        raise ConfigurationError(
            f"loss.{name} is for {other} targets, and dataset.target is {target}",
            f"{choices}, or set dataset.target={other}",
        )
    raise ConfigurationError(f"loss.{name} is unknown", choices)
