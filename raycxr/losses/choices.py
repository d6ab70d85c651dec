"""The losses that a configuration can name, for each kind of target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import nn

from raycxr.config.sections import LossSettingsSection
from raycxr.errors import ConfigurationError
from raycxr.losses.bce import BinaryCrossEntropy
from raycxr.losses.boundary import Boundary
from raycxr.losses.cross_entropy import CrossEntropy
from raycxr.losses.dice import SoftDice
from raycxr.losses.focal import Focal
from raycxr.losses.focal_tversky import FocalTversky
from raycxr.losses.jaccard import SoftJaccard
from raycxr.losses.lovasz import LovaszHinge
from raycxr.losses.target import Target
from raycxr.losses.tversky import Tversky
from raycxr.losses.weighted_bce import WeightedBinaryCrossEntropy
from raycxr.losses.weighted_sum import WeightedSum

LossChoices: TypeAlias = dict[str, Callable[[LossSettingsSection], nn.Module]]


def _weighted_bce(settings: LossSettingsSection) -> nn.Module:
    positive_weight = settings.weighted_bce.positive_weight
    if positive_weight is None:
        raise ConfigurationError(
            "loss.weighted_bce has no weight for the pixels of a structure",
            "set loss_settings.weighted_bce.positive_weight (pixels outside weigh 1), or choose bce",
        )
    return WeightedBinaryCrossEntropy(positive_weight)


def _tversky(settings: LossSettingsSection, target: Target, per_image: bool) -> nn.Module:
    return Tversky(target, settings.tversky.alpha, settings.tversky.beta, per_image)


def _focal_tversky(settings: LossSettingsSection, target: Target, per_image: bool) -> nn.Module:
    chosen = settings.focal_tversky
    return FocalTversky(target, chosen.alpha, chosen.beta, chosen.gamma, per_image)


def _for_either(target: Target) -> LossChoices:
    """Losses that are defined for both kinds of target."""
    return {
        "focal": lambda settings: Focal(target, settings.focal.gamma, settings.focal.alpha),
        "dice": lambda settings: SoftDice(target, per_image=True),
        "batch_dice": lambda settings: SoftDice(target, per_image=False),
        "jaccard": lambda settings: SoftJaccard(target, per_image=True),
        "batch_jaccard": lambda settings: SoftJaccard(target, per_image=False),
        "tversky": lambda settings: _tversky(settings, target, per_image=True),
        "batch_tversky": lambda settings: _tversky(settings, target, per_image=False),
        "focal_tversky": lambda settings: _focal_tversky(settings, target, per_image=True),
        "batch_focal_tversky": lambda settings: _focal_tversky(settings, target, per_image=False),
        "boundary": lambda settings: Boundary(target),
    }


LOSSES: dict[Target, LossChoices] = {
    "multilabel": {
        "bce": lambda settings: BinaryCrossEntropy(),
        "weighted_bce": _weighted_bce,
        **_for_either("multilabel"),
        "lovasz_hinge": lambda settings: LovaszHinge(),
        "symmetric_lovasz_hinge": lambda settings: LovaszHinge(symmetric=True),
    },
    "multiclass": {"cross_entropy": lambda settings: CrossEntropy(), **_for_either("multiclass")},
}


def build_loss(
    weights: Mapping[str, float], target: Target, settings: LossSettingsSection = LossSettingsSection()
) -> WeightedSum:
    """Return the weighted sum of named losses, such as ``{"bce": 1, "dice": 1}``.

    Parameters
    ----------
    weights : mapping of str to float
        Loss name -> weight, 0 or above and not all 0; a loss of weight 0 is left out.
    target : {"multilabel", "multiclass"}
        What the module is called with beside logits (B, C, H, W): masks (B, C, H, W) or labels (B, H, W).
    settings : LossSettingsSection
        Parameters of the losses.

    Raises
    ------
    ConfigurationError
        Unknown name, a loss for the other kind of target, weights that make no sum, or a setting that is missing.
    """
    for name, weight in weights.items():
        _check_name(name, target)
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigurationError(f"loss.{name} = {weight} is not a weight", "choose a number of 0 or above")
    used = {name: float(weight) for name, weight in weights.items() if weight > 0}
    if not used:
        raise ConfigurationError("loss: no loss has a weight above 0", "give one, such as loss: {dice: 1}")
    return WeightedSum({name: LOSSES[target][name](settings) for name in used}, used)


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
