"""Networks of bundles, and of checkpoints inside their runs."""

from __future__ import annotations

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from raycxr.config.model import ModelSection
from raycxr.errors import DataError
from raycxr.models.choices import build_model
from raycxr.prediction.checkpoint import read_checkpoint
from raycxr.prediction.snapshot import Weights
from raycxr.prediction.target import TargetKind, target_kind
from raycxr.runs.bundle import WEIGHTS, Bundle, read_bundle
from raycxr.runs.record import STATE_FILE
from raycxr.storage.location import Location


def load_model(location: Location, trainable: bool = False) -> tuple[torch.nn.Module, TargetKind, Bundle]:
    """Network of a bundle, or of a checkpoint inside its run, in evaluation mode, on the CPU.

    Parameters
    ----------
    trainable : bool
        Leaves the encoder free to be trained where its own run froze it; what no logit depends on stays frozen.

    Raises
    ------
    DataError
        The weights do not belong to the configuration, or are those of a classifier.
    """
    bundle, weights = read_weights(location)
    if bundle.config.classify is not None:
        raise DataError(f"{location} classifies whole films, it segments nothing", "name a segmentation network")
    target = target_kind(bundle.config.dataset, bundle.classes)
    # The bundle carries all weights: those that training started from are not fetched again.
    changes = {"encoder_weights": None} | ({"freeze_encoder": False} if trainable else {})
    settings = ModelSection(**(bundle.config.model.model_dump() | changes))
    model = build_model(settings, 1, target.channels, len(target.classes))
    fit_weights(model, weights, location)
    return model.eval(), target, bundle


def read_weights(location: Location) -> tuple[Bundle, Weights]:
    """Read a bundle, or a checkpoint inside its run, with its weights.

    Raises
    ------
    DataError
        It is damaged.
    """
    if (location / STATE_FILE).exists():
        return read_checkpoint(location)
    bundle = read_bundle(location)
    try:
        return bundle, load((location / WEIGHTS).read_bytes())
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{location / WEIGHTS} cannot be read: {error}", "pull the bundle again") from None


def fit_weights(model: torch.nn.Module, weights: Weights, location: Location) -> None:
    """Give a network the weights that were read from a place.

    Raises
    ------
    DataError
        They are those of another network.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"the weights of {location} do not fit its configuration: {first}", "pull the bundle again"
        ) from None
