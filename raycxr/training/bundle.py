"""Trained models as bundles, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from raycxr.config.load import to_yaml
from raycxr.config.model import ModelSection
from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex
from raycxr.dataset.split import split_counts
from raycxr.errors import DataError
from raycxr.models.choices import build_model
from raycxr.number_text import count
from raycxr.postprocess.rule import DecisionRule
from raycxr.runs.bundle import WEIGHTS, Bundle, read_bundle, write_bundle
from raycxr.runs.record import STATE_FILE
from raycxr.storage.location import Location
from raycxr.training.checkpoint import read_checkpoint
from raycxr.training.state import Weights
from raycxr.training.target import TargetKind, target_kind


def save_bundle(
    destination: Location,
    weights: Mapping[str, torch.Tensor],
    metrics: Mapping[str, Any],
    config: Config,
    target: TargetKind,
    splits: SplitIndex,
    rules: Sequence[DecisionRule],
    search: Mapping[str, Any] | None = None,
) -> None:
    """Publish weights with everything that is needed to use them.

    Parameters
    ----------
    rules : sequence of DecisionRule
        One per class.
    search : mapping or None
        How the rules were found, if they were.
    """
    postprocess = {
        "classes": list(target.classes),
        "target": target.name,
        "size": splits.manifest.geometry.size,
        "intensity": splits.manifest.intensity.model_dump(),
        "rules": {name: rule.model_dump(exclude_none=True) for name, rule in zip(target.classes, rules, strict=True)},
    }
    if search is not None:
        postprocess["search"] = dict(search)
    card = model_card(metrics, config, target, splits, rules)
    write_bundle(destination, save(dict(weights)), to_yaml(config), metrics, postprocess, card)


def load_model(location: Location) -> tuple[torch.nn.Module, TargetKind, Bundle]:
    """Network of a bundle, or of a checkpoint inside its run, in evaluation mode, on the CPU.

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
    settings = ModelSection(**(bundle.config.model.model_dump() | {"encoder_weights": None}))
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


def model_card(
    metrics: Mapping[str, Any], config: Config, target: TargetKind, splits: SplitIndex, rules: Sequence[DecisionRule]
) -> str:
    """README of a bundle: what it is, what it was trained on, how well it did, what it is not."""
    rows = "\n".join(
        f"| {structure} | {metrics['metrics']['dice'][structure]:.4f} | {metrics['metrics']['iou'][structure]:.4f} |"
        for structure in (*target.classes, "mean")
    )
    decisions = "\n".join(f"* {name}: {rule}" for name, rule in zip(target.classes, rules, strict=True))
    chosen = (
        f"The mean of the weights of the last {metrics['swa_epochs']} epochs, better than any epoch"
        if "swa_epochs" in metrics
        else f"Best of the epochs: epoch {metrics['epoch']}"
    )
    counts = split_counts({row["id"]: split for split, films in splits.rows.items() for row in films})
    return f"""# {config.model.title} for chest radiographs

Segments {", ".join(target.classes)} ({target.name}) in frontal chest radiographs of {splits.manifest.geometry.size} x \
{splits.manifest.geometry.size} pixels, displayed as usual (lungs dark).

Trained on data set `{splits.manifest.id}` ({splits.manifest.source}, {count(splits.manifest.counts.images, "film")}): \
{", ".join(f"{films} {split}" for split, films in counts.items())}, seed {config.train.seed}. \
{chosen} (validation {config.train.metric}).

| structure | Dice | IoU |
|---|---|---|
{rows}

Validation films, at the size of the data set; `raycxr evaluate` measures the test films at their original size.

From the probability p of a pixel to masks:

{decisions}

`model.safetensors` holds the weights, `config.yaml` the whole configuration, `postprocess.json` classes, decision
rules and the grey-level rule, `metrics.json` the figures above, `bundle.json` the sha256 of each file. Made by \
raycxr, for research: not a medical device.
"""
