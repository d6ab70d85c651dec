"""Figures of a yes-or-no decision about whole films."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raycxr.metrics.auc import auc

FIGURES = ("accuracy", "precision", "recall", "f1", "auc")


def binary_figures(probabilities: NDArray[np.float64], labels: NDArray[np.bool_], threshold: float) -> dict[str, float]:
    """Return accuracy, precision, recall, F1 and AUC of films.

    Parameters
    ----------
    probabilities : float array (N,)
        0 to 1.
    labels : bool array (N,)
    threshold : float
        A film above it is called positive. AUC does not depend on it.

    Returns
    -------
    dict
        By the names of `FIGURES`, each 0 to 1. NaN where undefined: precision when no film is called positive, recall
        without a positive film, F1 when neither is there, AUC without films of both kinds.
    """
    called = probabilities > threshold
    true_positives = int(np.count_nonzero(called & labels))
    return {
        "accuracy": _ratio(int(np.count_nonzero(called == labels)), labels.size),
        "precision": _ratio(true_positives, int(called.sum())),
        "recall": _ratio(true_positives, int(labels.sum())),
        "f1": _ratio(2 * true_positives, int(called.sum()) + int(labels.sum())),
        "auc": auc(probabilities, labels),
    }


def binary_intervals(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.bool_],
    threshold: float,
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Return the percentile bootstrap interval (Efron 1979) of every figure, over films drawn with replacement.

    Samples in which a figure is undefined are left out of its interval; NaN where it is undefined in all.
    """
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(resamples):
        films = generator.integers(labels.size, size=labels.size)
        for name, value in binary_figures(probabilities[films], labels[films], threshold).items():
            if value == value:
                drawn[name].append(value)
    bounds = [(1 - level) / 2, (1 + level) / 2]
    return {
        name: (float(np.quantile(values, bounds[0])), float(np.quantile(values, bounds[1])))
        if values
        else (float("nan"), float("nan"))
        for name, values in drawn.items()
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
