"""Overlap of predicted and true masks of one image, per class.

With P and T the pixels of the predicted and of the true mask:

* Dice = 2 |P and T| / (|P| + |T|)
* IoU (Jaccard) = |P and T| / |P or T|
* precision = |P and T| / |P|, recall = |P and T| / |T|
* pixel accuracy = share of the pixels at which the two masks agree
* label accuracy = share of the pixels at which the masks of all classes agree at once; for masks that exclude
  each other this is the usual pixel accuracy of multi-class segmentation
* mean IoU = mean of the IoU of the background and of each class, where the background is what no mask covers

Two empty masks agree: Dice, IoU, precision and recall are 1. One empty mask gives 0, also where the ratio would be
0 / 0, so that every image counts and Dice is always the harmonic mean of precision and recall.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BooleanMasks = NDArray[np.bool_]


def dice(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the Dice coefficient (C,) of boolean masks (C, H, W)."""
    intersection, predicted, true = _sizes(prediction, truth)
    return _ratio(2 * intersection, predicted + true)


def iou(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the intersection over union (C,) of boolean masks (C, H, W)."""
    intersection, predicted, true = _sizes(prediction, truth)
    return _ratio(intersection, predicted + true - intersection)


def precision(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the share (C,) of the predicted pixels that are right, of boolean masks (C, H, W)."""
    intersection, predicted, true = _sizes(prediction, truth)
    return _share(intersection, predicted, predicted + true == 0)


def recall(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the share (C,) of the true pixels that are found, of boolean masks (C, H, W)."""
    intersection, predicted, true = _sizes(prediction, truth)
    return _share(intersection, true, predicted + true == 0)


def pixel_accuracy(prediction: BooleanMasks, truth: BooleanMasks) -> NDArray[np.float64]:
    """Return the share of agreeing pixels (C,) of boolean masks (C, H, W)."""
    intersection, predicted, true = _sizes(prediction, truth)
    wrong = predicted + true - 2 * intersection
    accuracy: NDArray[np.float64] = 1 - wrong / (truth.shape[1] * truth.shape[2])
    return accuracy


def label_accuracy(prediction: BooleanMasks, truth: BooleanMasks) -> float:
    """Return the share of pixels at which all classes of boolean masks (C, H, W) agree."""
    _check(prediction, truth)
    return float(np.mean(~(prediction ^ truth).any(axis=0)))


def mean_iou(prediction: BooleanMasks, truth: BooleanMasks) -> float:
    """Return the mean of the IoU of the background and of each of the boolean masks (C, H, W)."""
    _check(prediction, truth)
    background = iou(~np.logical_or.reduce(prediction)[None], ~np.logical_or.reduce(truth)[None])
    return float(np.mean([*background, *iou(prediction, truth)]))


def _sizes(
    prediction: BooleanMasks, truth: BooleanMasks
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return |P and T|, |P| and |T| per class."""
    _check(prediction, truth)
    # Counting class by class: numpy counts a whole boolean array far faster than along an axis.
    intersection = [np.count_nonzero(p & t) for p, t in zip(prediction, truth, strict=True)]
    predicted, true = [np.count_nonzero(p) for p in prediction], [np.count_nonzero(t) for t in truth]
    return np.array(intersection, np.int64), np.array(predicted, np.int64), np.array(true, np.int64)


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), 1.0)


def _share(
    numerator: NDArray[np.int64], denominator: NDArray[np.int64], both_empty: NDArray[np.bool_]
) -> NDArray[np.float64]:
    return np.where(both_empty, 1.0, numerator / np.maximum(denominator, 1))


def _check(prediction: BooleanMasks, truth: BooleanMasks) -> None:
    if prediction.shape != truth.shape or truth.ndim != 3 or truth.size == 0:
        raise ValueError(f"masks must be (C, H, W) and alike, got {prediction.shape} and {truth.shape}")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, got {prediction.dtype} and {truth.dtype}")
