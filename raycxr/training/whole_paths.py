"""A configuration for processes whose current folder is not the user's."""

from __future__ import annotations

from pathlib import Path

from raycxr.config.sections import Config
from raycxr.runs.bundle import find_bundle
from raycxr.storage.location import Location


def with_whole_paths(config: Config) -> Config:
    """Make every path in a configuration absolute; its data set has been opened."""
    uri = config.dataset_uri
    assert uri is not None  # the data set was opened before the run was claimed
    cache = config.dataset.cache and str(Path(config.dataset.cache).expanduser().resolve())
    start = config.train.start_from and find_bundle(config.train.start_from).uri
    weights = config.model.encoder_weights
    if weights is not None and ("/" in weights or "." in weights):  # a file's, not the hub's
        weights = Location(weights).uri
    return config.model_copy(
        update={
            "dataset": config.dataset.model_copy(update={"uri": Location(uri).uri, "cache": cache}),
            "train": config.train.model_copy(update={"start_from": start}),
            "model": config.model.model_copy(update={"encoder_weights": weights}),
        }
    )
