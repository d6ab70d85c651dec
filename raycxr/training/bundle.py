"""Trained models as bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import save

from raycxr.config.load import to_yaml
from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex
from raycxr.dataset.split import split_counts
from raycxr.number_text import count
from raycxr.postprocess.rule import DecisionRule
from raycxr.prediction.target import TargetKind
from raycxr.runs.bundle import write_bundle
from raycxr.storage.location import Location


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
