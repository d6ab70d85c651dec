"""A bundle: a trained model as files that any program can read and verify, without pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from raycxr.config.load import check_config
from raycxr.config.sections import Config
from raycxr.errors import DataError
from raycxr.postprocess.rule import DecisionRule
from raycxr.runs.record import BEST, STATE_FILE
from raycxr.storage.fetch import fetch_verified
from raycxr.storage.location import Location
from raycxr.storage.publish import publish, read_marker

MARKER = "bundle.json"
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
METRICS = "metrics.json"
POSTPROCESS = "postprocess.json"
CARD = "README.md"


@dataclass(frozen=True)
class Bundle:
    """What a bundle says of itself, with the decision rule of each class; the weights stay where they are."""

    location: Location
    config: Config
    classes: tuple[str, ...]
    size: int
    epoch: int
    metrics: dict[str, Any]
    rules: tuple[DecisionRule, ...]
    intensity: dict[str, Any]


def write_bundle(
    destination: Location,
    weights: bytes | Path,
    config_yaml: str,
    metrics: Mapping[str, Any],
    postprocess: Mapping[str, Any],
    card: str,
) -> None:
    """Publish a bundle: `bundle.json` with the sha256 of every file is written last."""
    files: dict[str, bytes | Path] = {
        WEIGHTS: weights,
        CONFIG: config_yaml.encode(),
        METRICS: json.dumps(metrics, indent=2).encode(),
        POSTPROCESS: json.dumps(postprocess, indent=2).encode(),
        CARD: card.encode(),
    }
    publish(files, destination, MARKER, {"format": "raycxr-bundle", "format_version": 1})


def find_bundle(uri: str) -> Location:
    """Location of the bundle of a run (its `best/`), of a bundle itself, or of a checkpoint inside a run.

    Raises
    ------
    DataError
        There is neither.
    """
    place = Location(uri)
    for candidate in (place, place / BEST):
        if (candidate / MARKER).exists():
            return candidate
    if (place / STATE_FILE).exists():
        return place
    raise DataError(
        f"{uri} is neither a bundle nor a run with a finished epoch: no {MARKER}, nor a checkpoint",
        "see raycxr runs URI",
    )


def is_classifier(location: Location) -> bool:
    """Whether a place that `find_bundle` found holds a classifier of whole films."""
    return (location / MARKER).exists() and read_bundle(location).config.classify is not None


def read_bundle(location: Location) -> Bundle:
    """Read everything but the weights."""
    marker = read_marker(location, MARKER)
    if marker.get("format") != "raycxr-bundle" or marker.get("format_version") != 1:
        raise DataError(f"{location / MARKER} is not a bundle that this raycxr reads", "use the raycxr that wrote it")
    values = yaml.safe_load((location / CONFIG).read_text())
    metrics = json.loads((location / METRICS).read_text())
    postprocess = json.loads((location / POSTPROCESS).read_text())
    return Bundle(
        location,
        check_config(values, str(location / CONFIG)),
        tuple(postprocess["classes"]),
        int(postprocess["size"]),
        int(metrics["epoch"]),
        metrics["metrics"],
        _read_rules(postprocess, location),
        dict(postprocess["intensity"]),
    )


def _read_rules(postprocess: Mapping[str, Any], location: Location) -> tuple[DecisionRule, ...]:
    try:
        return tuple(DecisionRule.model_validate(postprocess["rules"][name]) for name in postprocess["classes"])
    except (KeyError, TypeError, ValidationError):
        raise DataError(
            f"{location / POSTPROCESS} has no decision rule for each of its classes", "pull the bundle again"
        ) from None


def pull_bundle(location: Location, destination: Path, tell: Callable[[str], None] = lambda line: None) -> None:
    """Copy a bundle, verifying every checksum; the destination appears whole or not at all.

    A copy that was broken off goes on from what had arrived, and `tell` is told so.
    """
    fetch_verified(location, MARKER, destination, tell)
