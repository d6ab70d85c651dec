"""Features of a frozen encoder: computed once per film, and kept on this machine for every later run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from raycxr.classification.encoder import weights_sha256
from raycxr.classification.films import Progress, ReducedFilms, find_lungs, in_order
from raycxr.classification.labels import LabelledFilms
from raycxr.classification.lungs import LungFinder
from raycxr.classification.network import pool_both
from raycxr.config.classify import LungsSettings
from raycxr.config.sections import Config
from raycxr.dataset.cache import cache_folder
from raycxr.dataset.films import shard_paths
from raycxr.errors import StorageError
from raycxr.prediction.compute import Compute, full_float32
from raycxr.prediction.target import normalise


@dataclass(frozen=True)
class Features:
    """Averages and maxima (N, 2 C) float32 of the maps of every film, and whether the cache had them."""

    values: Tensor
    cached: bool


def frozen_features(
    encoder: nn.Module,
    maps: int,
    films: LabelledFilms,
    finder: LungFinder | None,
    config: Config,
    compute: Compute,
    tell: Callable[[str], None],
    progress: Progress,
) -> Features:
    """Features of all films (`maps` maps each), from the cache where the same ones were computed before.

    They are computed in float32, on GPUs without TF32, so that those of one film differ between machines by what
    float32 rounds and no more. The cache lies in ``features/`` beside the shards'; deleting it is always safe.

    Parameters
    ----------
    tell : callable
        Says in one line that a damaged file of the cache is made anew.

    Raises
    ------
    StorageError
        The cache cannot be written.
    """
    assert config.classify is not None
    settings = config.classify.lungs
    folder = cache_folder(config.dataset.cache) / "features"
    place = folder / f"{features_key(encoder, maps, films, finder, settings)}.safetensors"
    if place.exists():
        known = _read(place, (len(films), 2 * maps))
        if known is not None:
            return Features(known, cached=True)
        tell(f"{place} is damaged: the features are computed again")
    paths = shard_paths(films.splits, config.dataset.cache)
    batch_size = config.evaluate.batch_size
    lungs = None
    if finder is not None:
        lungs = find_lungs(finder, films.rows, paths, batch_size, compute, progress)
    reduced = ReducedFilms(films.rows, paths, None, lungs, settings)
    values = _compute(encoder, reduced, batch_size, compute, progress)
    _keep(values, place)
    return Features(values, cached=False)


def features_key(
    encoder: nn.Module, maps: int, films: LabelledFilms, finder: LungFinder | None, settings: LungsSettings | None
) -> str:
    """Name of the features: a hash of all that they depend on.

    Of an encoder that is its weights, its layers (a dilated one has the same weights) and how many maps it hands out
    (one that ends early holds the weights of all stages).
    """
    told = {
        # Counted up where the same films and weights come to have other features.
        "version": 2,
        "dataset": films.splits.manifest.id,
        "size": films.size,
        "films": [row["id"] for row in films.rows],
        "encoder": [weights_sha256(encoder.state_dict()), repr(encoder), maps],
    }
    if finder is not None and settings is not None:
        lungs = {"weights": weights_sha256(finder.network.state_dict()), "rules": finder.document["rules"]}
        told["lungs"] = lungs | {"use": settings.use, "margin": settings.margin}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@torch.no_grad()
def _compute(encoder: nn.Module, films: ReducedFilms, batch_size: int, compute: Compute, progress: Progress) -> Tensor:
    placed = compute.place(encoder).eval()
    parts: list[Tensor] = []
    for batch in in_order(films, batch_size, compute):
        with full_float32():
            parts.append(pool_both(placed(normalise(batch.images.to(compute.device)))).cpu())
        progress(sum(map(len, parts)), len(films))
    return torch.cat(parts)


def _read(place: Path, shape: tuple[int, int]) -> Tensor | None:
    """Features out of the cache; None where the file is damaged."""
    try:
        values = load_file(place)["features"]
    except (SafetensorError, OSError, KeyError):
        return None
    return values if tuple(values.shape) == shape else None


def _keep(values: Tensor, place: Path) -> None:
    partial = place.with_suffix(f".{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Not save_file, whose errors do not say in a word what the disk lacks.
        partial.write_bytes(save({"features": values.contiguous()}))
        partial.replace(place)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StorageError(
            f"cannot write the cache of features {place.parent}: {error.strerror}",
            "set dataset.cache or RAYCXR_CACHE to a folder with room",
        ) from None
