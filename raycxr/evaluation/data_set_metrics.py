"""Figures that only a whole data set has: of lesions that many films do not have, and of calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.evaluation.film_metrics import FilmMeasures
from raycxr.metrics.auc import Auc
from raycxr.metrics.bootstrap import Statistic, percentile_interval, resample, weighted_mean
from raycxr.metrics.calibration import BINS, calibration_error, calibration_sums
from raycxr.metrics.presence import film_values


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its bootstrap interval over films; these are NaN where no sample has it."""

    value: float
    low: float
    high: float


def data_set_metrics(
    films: Sequence[FilmMeasures], classes: Sequence[str], seed: int, resamples: int
) -> dict[str, dict[str, Estimate]]:
    """Return metric -> class (and `mean` over them) -> figure.

    `calibration_error` is there for every class, the metrics of `presence.py` for classes that some film does not
    have, as far as they are defined.
    """
    statistics: dict[tuple[str, str], Statistic] = {}
    for position, name in enumerate(classes):
        statistics["calibration_error", name] = _Calibration([film.calibration[position] for film in films])
        true = np.array([film.true_pixels[position] > 0 for film in films])
        if true.all():
            continue
        dice = np.array([film.values["dice"][name] for film in films])
        predicted = np.array([film.predicted_pixels[position] > 0 for film in films])
        for metric, of_films in film_values(dice, predicted, true).items():
            statistics[metric, name] = weighted_mean(of_films)
        scores = np.array([film.scores[position] for film in films])
        statistics["auc", name] = Auc(scores, true)
        statistics["image_calibration_error", name] = _Calibration(_film_bins(scores, true))
    once = np.ones((1, len(films)))
    values = {key: float(statistic(once)[0]) for key, statistic in statistics.items()}
    defined = {key: statistic for key, statistic in statistics.items() if not math.isnan(values[key])}
    return _by_metric(values, resample(defined, len(films), seed, resamples))


class _Calibration:
    """Calibration error of films that are drawn several times or not at all; every film weighs the same."""

    def __init__(self, bins: Sequence[NDArray[np.float64]]) -> None:
        self.bins = np.stack(bins).reshape(len(bins), -1)

    def __call__(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return calibration_error((counts @ self.bins).reshape(-1, 3, BINS))


def _film_bins(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Sums (3, 15) of each film, whose one probability is its score."""
    return [
        calibration_sums(torch.tensor(score).reshape(1, 1, 1, 1), torch.tensor(true).reshape(1, 1, 1, 1))[0].numpy()
        for score, true in zip(scores, positive, strict=True)
    ]


def _by_metric(
    values: Mapping[tuple[str, str], float], samples: Mapping[tuple[str, str], NDArray[np.float64]]
) -> dict[str, dict[str, Estimate]]:
    """Figures by metric and class, and their means over the classes, sample by sample."""
    found: dict[str, dict[str, Estimate]] = {}
    for (metric, name), drawn in samples.items():
        found.setdefault(metric, {})[name] = Estimate(values[metric, name], *percentile_interval(drawn))
    for metric, of_classes in found.items():
        mean = sum(estimate.value for estimate in of_classes.values()) / len(of_classes)
        drawn = np.mean([samples[metric, name] for name in of_classes], axis=0)
        of_classes["mean"] = Estimate(mean, *percentile_interval(drawn))
    return found
