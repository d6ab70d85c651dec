"""Training that starts from the weights of a trained model, such as one trained at half the size."""

from __future__ import annotations

from torch import nn

from raycxr.config.model import ModelSection
from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex, open_splits
from raycxr.errors import ConfigurationError, DataError, StorageError
from raycxr.models.choices import build_model, used_options
from raycxr.number_text import count
from raycxr.prediction.bundle import fit_weights, read_weights
from raycxr.prediction.target import TargetKind
from raycxr.runs.bundle import Bundle, find_bundle

# What may differ between a network and the one whose weights it takes: none of these is a weight.
NO_WEIGHTS = {"encoder_weights", "freeze_encoder", "dropout", "image_head_dropout"}


def check_start(config: Config, target: TargetKind, splits: SplitIndex) -> None:
    """Refuse a `train.start_from` with weights of another network or of other structures, or that saw held-out films.

    What a bundle has seen can be told only as long as its data set can be read.

    Raises
    ------
    ConfigurationError
        Naming the first difference, or how many films were seen.
    DataError
        There is no bundle.
    """
    if config.train.start_from is None:
        return
    bundle, _ = read_weights(find_bundle(config.train.start_from))
    then, now = used_options(bundle.config.model), used_options(config.model)
    different = [
        f"model.{key} = {then.get(key)}, here {now[key]}"
        for key in now
        if key not in NO_WEIGHTS and then.get(key) != now[key]
    ]
    if bundle.classes != target.classes:
        different.append(f"structures {', '.join(bundle.classes)}, here {', '.join(target.classes)}")
    if bundle.config.dataset.target != target.name:
        different.append(f"dataset.target = {bundle.config.dataset.target}, here {target.name}")
    if different:
        raise ConfigurationError(
            f"train.start_from = {config.train.start_from!r} was trained with {different[0]}",
            "set the same here, or start from another run",
        )
    held_out = [row["id"] for split in ("validation", "test") for row in splits.rows[split]]
    seen = len(_trained_on(bundle).intersection(held_out))
    if seen:
        raise ConfigurationError(
            f"train.start_from = {config.train.start_from!r} was trained on {seen} of the "
            f"{count(len(held_out), 'film')} that are held out here",
            "give both runs the same dataset.split, or start from the run of the same fold",
        )


def _trained_on(bundle: Bundle) -> set[str]:
    """Ids of the films that the bundle was trained on, as far as its data set is still there."""
    if bundle.config.dataset_uri is None:
        return set()
    try:
        return {row["id"] for row in open_splits(bundle.config).rows["train"]}
    except (DataError, StorageError):
        return set()


def initial_network(config: Config, target: TargetKind) -> nn.Module:
    """Return the network with the weights that training starts from.

    Raises
    ------
    ConfigurationError
        The network cannot be built, or its weights do not fit.
    """
    if config.train.start_from is None:
        return build_model(config.model, 1, target.channels, len(target.classes))
    # All weights come from the bundle: those of the encoder are not fetched beside them.
    settings = ModelSection(**(config.model.model_dump() | {"encoder_weights": None}))
    model = build_model(settings, 1, target.channels, len(target.classes))
    location = find_bundle(config.train.start_from)
    _, weights = read_weights(location)
    try:
        fit_weights(model, weights, location)
    except DataError as error:
        raise ConfigurationError(f"train.start_from: {error.message}", error.remedy) from error
    return model
