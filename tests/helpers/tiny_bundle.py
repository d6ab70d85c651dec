"""Bundles of networks that were never trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from raycxr.config.load import check_config, to_yaml
from raycxr.models.choices import build_model
from raycxr.runs.bundle import write_bundle
from raycxr.storage.location import Location

SIZE = 32


def write_tiny_bundle(folder: Path, *classes: str, seed: int = 3, **model: Any) -> Location:
    """Bundle of a network for films of 32 pixels, in the folder of a run."""
    config = check_config({"model": model, "train": {"precision": "fp32"}}, "test")
    torch.manual_seed(seed)
    network = build_model(config.model, 1, len(classes), len(classes))
    dice = dict.fromkeys((*classes, "mean"), 0.5)
    metrics = {"epoch": 1, "split": "validation", "metrics": {"loss": 1.0, "dice": dice, "iou": dice}}
    about = {
        "classes": list(classes),
        "size": SIZE,
        "intensity": {"rule": "percentile", "low": 0.5, "high": 99.5},
        "rules": {name: {"threshold": 0.5} for name in classes},
    }
    place = Location(folder) / "best"
    write_bundle(place, save(network.state_dict()), to_yaml(config), metrics, about, "a card")
    return place
