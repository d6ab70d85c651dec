"""The settings of a prediction job, from what the user named."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from raycxr.errors import DataError
from raycxr.prediction.batch_job import JobSettings
from raycxr.runs.bundle import MARKER, find_bundle, is_classifier, read_bundle
from raycxr.runs.record import STATE_FILE
from raycxr.storage.location import Location


def make_settings(
    networks: Sequence[str], test_time: tuple[str, ...] | None, formats: tuple[str, ...], out: str, batch_size: int
) -> tuple[JobSettings, tuple[str, ...]]:
    """Return the settings, and the classes of the networks.

    Parameters
    ----------
    networks : sequence of str
        Runs, bundles, or checkpoints inside runs.

    Raises
    ------
    DataError
        There is none, it is damaged, or it classifies whole films.
    """
    places = [find_bundle(uri) for uri in networks]
    for place in places:
        if is_classifier(place):
            raise DataError(f"{place} classifies whole films, it segments nothing", "name a segmentation network")
    classes, cache = _classes(places[0])
    uris = tuple(place.uri for place in places)
    models = tuple(_identity(place) for place in places)
    return JobSettings(uris, models, test_time, formats, Location(out).uri, batch_size, cache), classes


def _classes(place: Location) -> tuple[tuple[str, ...], str | None]:
    """Classes of a network, and the shard cache that its configuration names."""
    if (place / STATE_FILE).exists():
        from raycxr.prediction.checkpoint import read_checkpoint

        bundle, _ = read_checkpoint(place)
    else:
        bundle = read_bundle(place)
    return bundle.classes, bundle.config.dataset.cache


def _identity(place: Location) -> str:
    """Hash that changes with the weights or anything else of a bundle; of a checkpoint, with its place."""
    if (place / MARKER).exists():
        return hashlib.sha256((place / MARKER).read_bytes()).hexdigest()
    return hashlib.sha256(place.uri.encode()).hexdigest()
