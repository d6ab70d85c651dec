"""Films of a data set, each with what a predictor makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.dataset.films import Films, SplitIndex, shard_paths
from raycxr.dataset.loader import EvaluationSampler, available_cpus
from raycxr.dataset.torch_loader import TorchLoader
from raycxr.prediction.predictor import Predictor


@dataclass(frozen=True)
class PredictedFilm:
    """A film at the size S of the data set, padding included.

    Attributes
    ----------
    image : uint8 or float32 (S, S)
    field : uint8 (S, S)
        Its true masks, one bit per class of the data set.
    probabilities : float32 (channels, S, S)
        Of the classes of the predictor, with the background before them where multiclass.
    image_probabilities : float32 (classes,) or None
        Whether the film shows each class at all, of networks with an image head.
    """

    image: NDArray[Any]
    field: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    image_probabilities: NDArray[np.float32] | None


def predict_films(
    predictor: Predictor,
    rows: Sequence[dict[str, Any]],
    splits: SplitIndex,
    batch_size: int,
    cache: str | None,
    loader_workers: int | None = None,
) -> Iterator[PredictedFilm]:
    """Yield every film of `rows`, in order, one batch in memory at a time.

    Parameters
    ----------
    rows : sequence of dict
        Of the data set's index.
    cache : str or None
        As in `dataset.cache`.
    loader_workers : int or None
        Loading processes; None for two, where there are CPUs for them.
    """
    films = Films(list(rows), shard_paths(splits, cache), None)
    sampler = EvaluationSampler(len(rows), batch_size, 0, 1)
    workers = min(2, available_cpus() - 1 if loader_workers is None else loader_workers)
    for batch in TorchLoader(films, sampler, workers, predictor.device.type == "cuda"):
        prediction = predictor.predict(batch.images)
        probabilities = prediction.masks.cpu().numpy()
        of_images = None if prediction.images is None else prediction.images.cpu().numpy()
        for position in range(len(batch)):
            yield PredictedFilm(
                batch.images[position].numpy(),
                batch.fields[position].numpy(),
                probabilities[position],
                None if of_images is None else of_images[position],
            )
