"""Masks from the probabilities of one film: a threshold per class, or the most probable class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def threshold(probabilities: NDArray[np.float32], thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Return masks (C, H, W): where the probability of a class lies above the threshold of that class.

    Parameters
    ----------
    probabilities : float32 (C, H, W)
        Sigmoid outputs, 0 to 1.
    thresholds : sequence of float
        One per class; a probability equal to it does not count.
    """
    if probabilities.ndim != 3 or len(thresholds) != len(probabilities):
        raise ValueError(f"{len(thresholds)} thresholds for probabilities of shape {probabilities.shape}")
    return probabilities > np.asarray(thresholds, probabilities.dtype)[:, None, None]


def argmax_labels(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return labels (H, W): the most probable of the classes (C, H, W), the first where several are equal."""
    if probabilities.ndim != 3 or not 1 <= len(probabilities) <= 256:
        raise ValueError(f"probabilities must be (C, H, W) with 1 to 256 classes, got {probabilities.shape}")
    labels: NDArray[np.uint8] = probabilities.argmax(axis=0).astype(np.uint8)
    return labels
