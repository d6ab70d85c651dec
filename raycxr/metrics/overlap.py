"""Overlap of predicted and true masks of one image, per class.

With P and T the pixels of the predicted and of the true mask:

* Dice = 2 |P and T| / (|P| + |T|)
* IoU (Jaccard) = |P and T| / |P or T|
* pixel accuracy = share of the pixels at which the two masks agree
* label accuracy = share of the pixels at which the masks of all classes agree at once; for masks that exclude
  each other this is the usual pixel accuracy of multi-class segmentation

Two empty masks agree: Dice and IoU are 1. One empty mask gives 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BooleanMasks = NDArray[np.bool_]


def dice(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the Dice coefficient (C,) of boolean masks (C, H, W)."""
    intersection, size = _sizes(prediction, truth)
    return _ratio(2 * intersection, size)


def iou(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the intersection over union (C,) of boolean masks (C, H, W)."""
    intersection, size = _sizes(prediction, truth)
    return _ratio(intersection, size - intersection)


def pixel_accuracy(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the share of agreeing pixels (C,) of boolean masks (C, H, W)."""
    intersection, size = _sizes(prediction, truth)
    accuracy: NDArray[np.float64] = 1 - (size - 2 * intersection) / (truth.shape[1] * truth.shape[2])
    return accuracy


def label_accuracy(prediction: BooleanMasks, truth: BooleanMasks) -> float:
    """Return the share of pixels at which all classes of boolean masks (C, H, W) agree."""
    _check(prediction, truth)
    return float(np.mean(~(prediction ^ truth).any(axis=0)))


def _sizes(prediction: BooleanMasks, truth: BooleanMasks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return |P and T| and |P| + |T| per class."""
    _check(prediction, truth)
    # Counting class by class: numpy counts a whole boolean array far faster than along an axis.
    intersection = [np.count_nonzero(p & t) for p, t in zip(prediction, truth, strict=True)]
    size = [np.count_nonzero(p) + np.count_nonzero(t) for p, t in zip(prediction, truth, strict=True)]
    return np.array(intersection, np.int64), np.array(size, np.int64)


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 1.0)


def _check(prediction: BooleanMasks, truth: BooleanMasks) -> None:
    if prediction.shape != truth.shape or truth.ndim != 3 or truth.size == 0:
        raise ValueError(f"masks must be (C, H, W) and alike, got {prediction.shape} and {truth.shape}")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, got {prediction.dtype} and {truth.dtype}")
