"""The losses that a configuration can name, for each kind of target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import nn

from raycxr.config.loss import LossSettingsSection
from raycxr.errors import ConfigurationError
from raycxr.losses.bce import BinaryCrossEntropy
from raycxr.losses.boundary import Boundary
from raycxr.losses.cross_entropy import CrossEntropy
from raycxr.losses.dice import SoftDice
from raycxr.losses.focal import Focal
from raycxr.losses.image_bce import ImageBinaryCrossEntropy
from raycxr.losses.lovasz import LovaszHinge
from raycxr.losses.target import Target
from raycxr.losses.tversky import Tversky
from raycxr.losses.weighted_sum import WeightedSum

LossChoices: TypeAlias = dict[str, Callable[[LossSettingsSection], nn.Module]]


def _weighted_bce(settings: LossSettingsSection) -> nn.Module:
    positive_weight = settings.weighted_bce.positive_weight
    if positive_weight is None:
        raise ConfigurationError(
            "loss.weighted_bce has no weight for the pixels of a structure",
            "set loss_settings.weighted_bce.positive_weight (pixels outside weigh 1), or choose bce",
        )
    return BinaryCrossEntropy(positive_weight)


def _tversky(settings: LossSettingsSection, target: Target, per_image: bool) -> nn.Module:
    return Tversky(target, settings.tversky.alpha, settings.tversky.beta, per_image=per_image)


def _focal_tversky(settings: LossSettingsSection, target: Target, per_image: bool) -> nn.Module:
    chosen = settings.focal_tversky
    return Tversky(target, chosen.alpha, chosen.beta, chosen.gamma, per_image)


def _for_either(target: Target) -> LossChoices:
    """Losses that are defined for both kinds of target."""
    return {
        "focal": lambda settings: Focal(target, settings.focal.gamma, settings.focal.alpha),
        "dice": lambda settings: SoftDice(target, per_image=True),
        "batch_dice": lambda settings: SoftDice(target, per_image=False),
        "jaccard": lambda settings: Tversky(target, alpha=1, beta=1, per_image=True),
        "batch_jaccard": lambda settings: Tversky(target, alpha=1, beta=1, per_image=False),
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
# Of the logits of an image-level head, for either kind of target.
IMAGE_LOSSES: dict[str, Callable[[Target], nn.Module]] = {"image_bce": ImageBinaryCrossEntropy}


def build_loss(
    weights: Mapping[str, float], target: Target, settings: LossSettingsSection = LossSettingsSection()
) -> WeightedSum:
    """Return the weighted sum of named losses, such as ``{"bce": 1, "dice": 1}``.

    Parameters
    ----------
    weights : mapping of str to float
        Loss name -> weight, 0 or above and not all 0; a loss of weight 0 is left out.
    target : {"multilabel", "multiclass"}
        What the module is called with beside logits (B, C, H, W): masks (B, C, H, W) or labels (B, H, W). A loss of
        `IMAGE_LOSSES` also needs the logits (B, structures) of an image-level head.
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
    losses = {name: LOSSES[target][name](settings) for name in used if name not in IMAGE_LOSSES}
    image_losses = {name: IMAGE_LOSSES[name](target) for name in used if name in IMAGE_LOSSES}
    if not losses:
        raise ConfigurationError(
            f"loss: {', '.join(image_losses)} alone trains no masks", f"add one of {', '.join(LOSSES[target])}"
        )
    return WeightedSum(losses, used, image_losses)


def check_image_loss(weights: Mapping[str, float], image_head: bool) -> None:
    """Refuse an image-level head without a loss, and a loss without a head.

    Raises
    ------
    ConfigurationError
        One stands in the configuration without the other.
    """
    named = [name for name in IMAGE_LOSSES if name in weights]
    if named and not image_head:
        raise ConfigurationError(
            f"loss.{named[0]} needs an image-level head, and model.image_head is false",
            f"set model.image_head=true, or leave loss.{named[0]} out",
        )
    if image_head and not named:
        raise ConfigurationError(
            "model.image_head = true: no loss trains the image-level head",
            f"give loss.{next(iter(IMAGE_LOSSES))} a weight, or set model.image_head=false",
        )


def _check_name(name: str, target: Target) -> None:
    if name in LOSSES[target] or name in IMAGE_LOSSES:
        return
    choices = f"choose among {', '.join([*LOSSES[target], *IMAGE_LOSSES])}"
    other: Target = "multiclass" if target == "multilabel" else "multilabel"
    if name in LOSSES[other]:
        raise ConfigurationError(
            f"loss.{name} is for {other} targets, and dataset.target is {target}",
            f"{choices}, or set dataset.target={other}",
        )
    raise ConfigurationError(f"loss.{name} is unknown", choices)
