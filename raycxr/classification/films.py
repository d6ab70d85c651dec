"""Films on their way to the classifier: read from the shards, reduced to their lungs where asked, then augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.classification.lungs import LungFinder, reduce_to_lungs, two_largest
from raycxr.config.classify import LungsSettings
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.cache import CachedShards
from raycxr.dataset.films import Batch, Films, Key
from raycxr.dataset.loader import EvaluationSampler, available_cpus
from raycxr.dataset.torch_loader import TorchLoader
from raycxr.prediction.compute import Compute, full_float32

Progress = Callable[[int, int], object]


class ReducedFilms(Films):
    """Films as in `Films`, each reduced to its lungs before it is augmented.

    Parameters
    ----------
    rows, paths, augmentation
        As for `Films`.
    lungs : uint8 array (N, H, W / 8) or None
        Lungs of each film as packed bits, from `find_lungs`; None: films as they are.
    settings : LungsSettings or None
        What is done with them.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        paths: CachedShards,
        augmentation: Augmentation | None,
        lungs: NDArray[np.uint8] | None,
        settings: LungsSettings | None,
    ) -> None:
        super().__init__(rows, paths, None)
        self.changes, self.lungs, self.settings = augmentation, lungs, settings

    def __getitem__(self, key: Key | tuple[int, int]) -> tuple[str, NDArray[Any], NDArray[np.uint8], bool]:
        epoch, position, turn = Key(*key)
        film_id, image, field, annotated = super().__getitem__(key)
        if self.lungs is not None and self.settings is not None:
            mask = np.unpackbits(self.lungs[position], axis=1, count=image.shape[1]).astype(bool)
            image = reduce_to_lungs(image, mask, self.settings.use, self.settings.margin)
        if self.changes is not None:
            image, field = self.changes(image, field, epoch, film_id, turn)
        return film_id, image, field, annotated


def in_order(films: Films, batch_size: int, compute: Compute) -> Iterator[Batch]:
    """Every film once, in order."""
    sampler = EvaluationSampler(len(films), batch_size, 0, 1)
    workers = min(2, available_cpus() - 1) if len(films) > batch_size else 0
    yield from TorchLoader(films, sampler, workers, compute.device.type == "cuda")


@torch.no_grad()
def find_lungs(
    finder: LungFinder,
    rows: Sequence[dict[str, Any]],
    paths: CachedShards,
    batch_size: int,
    compute: Compute,
    progress: Progress,
) -> NDArray[np.uint8]:
    """Lungs of every film, as packed bits (N, H, W / 8), found in float32: they are a part of the features."""
    compute.place(finder.network)
    packed: list[NDArray[np.uint8]] = []
    for batch in in_order(Films(rows, paths, None), batch_size, compute):
        first = sum(map(len, packed))
        sizes = [(row["height"], row["width"]) for row in rows[first : first + len(batch)]]
        with full_float32():
            found = finder.find(batch.images.to(compute.device), sizes)
        packed.append(np.packbits([two_largest(film) for film in found], axis=2))
        progress(sum(map(len, packed)), len(rows))
    return np.concatenate(packed)
