"""Confidence interval of a mean over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

_DRAWS_AT_ONCE = 2_000_000


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
