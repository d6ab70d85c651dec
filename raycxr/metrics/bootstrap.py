"""Confidence intervals over images, by bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DRAWS_AT_ONCE = 2_000_000

Key = TypeVar("Key")
# A figure of a whole set of images, as a function of how often each of them counts: (R, N) -> (R,).
Statistic: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def mean_interval(
    values: ArrayLike, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean of per-image values and its percentile bootstrap interval (Efron 1979).

    Parameters
    ----------
    values : array_like of float (N,)
        One value per image; NaN (not defined for that image) is left out.
    seed : int
        The same values and seed give the same interval.
    resamples : int
        Number of samples of N images drawn with replacement.
    level : float
        Probability of the interval, 0 to 1.

    Returns
    -------
    (float, float, float)
        Mean, low and high end; NaN without any defined value.
    """
    defined = np.asarray(values, np.float64).ravel()
    defined = defined[~np.isnan(defined)]
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples must be 1 or more and level between 0 and 1, got {resamples} and {level}")
    if defined.size == 0:
        return float("nan"), float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    # In blocks, so that twelve thousand images do not draw 24 million indices into memory at once.
    block = max(1, _DRAWS_AT_ONCE // defined.size)
    means = np.empty(resamples)
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        drawn = generator.integers(defined.size, size=(stop - start, defined.size))
        means[start:stop] = defined[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(defined.mean()), float(low), float(high)


def resample(
    statistics: Mapping[Key, Statistic], images: int, seed: int, resamples: int = 2000
) -> dict[Key, NDArray[np.float64]]:
    """Return the values (resamples,) that each statistic takes on samples of `images` images drawn with replacement.

    All statistics see the same samples, so that values of several may be averaged sample by sample.
    """
    if resamples < 1 or images < 1:
        raise ValueError(f"resamples and images must be 1 or more, got {resamples} and {images}")
    generator = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // images)
    values: dict[Key, list[NDArray[np.float64]]] = {key: [] for key in statistics}
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)
        for key, statistic in statistics.items():
            values[key].append(statistic(counts))
    return {key: np.concatenate(blocks) for key, blocks in values.items()}


def percentile_interval(samples: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds the share `level` of bootstrap samples; NaN ones (undefined) are left out."""
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def weighted_mean(values: NDArray[np.float64]) -> Statistic:
    """Return the statistic that is the mean of per-image values (N,), NaN (undefined) left out."""
    defined = ~np.isnan(values)
    known, weights = np.where(defined, values, 0.0), defined.astype(np.float64)

    def mean(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        weight = counts @ weights
        return np.where(weight > 0, counts @ known / np.where(weight > 0, weight, 1), np.nan)

    return mean
