"""What one film is worth: its own figures, and what it adds to those of its data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.metrics.calibration import calibration_sums
from raycxr.metrics.lesion import lesion_dice
from raycxr.metrics.overlap import dice, iou, label_accuracy, mean_iou, pixel_accuracy, precision, recall
from raycxr.metrics.surface import surface_distances

_OVERLAP = {"dice": dice, "iou": iou, "precision": precision, "recall": recall, "pixel_accuracy": pixel_accuracy}


@dataclass(frozen=True)
class FilmMeasures:
    """Figures of one film with C classes.

    Attributes
    ----------
    values : dict
        Metric -> class (and `mean` over the classes for which it is defined) -> value.
    true_pixels, predicted_pixels : int64 (C,)
        Size of the masks.
    scores : float64 (C,)
        How sure the model is that the structure is there, see `presence.py`.
    calibration : float64 (C, 3, 15)
        Sums of `calibration.py` divided by the pixels of the film, so that every film weighs the same.
    """

    values: dict[str, dict[str, float]]
    true_pixels: NDArray[np.int64]
    predicted_pixels: NDArray[np.int64]
    scores: NDArray[np.float64]
    calibration: NDArray[np.float64]


def measure_film(
    classes: Sequence[str],
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    probabilities: NDArray[np.float32],
    scores: NDArray[np.floating],
    spacing: float | None,
    tolerance: float,
) -> FilmMeasures:
    """Compare predicted masks and their probabilities with true masks, all (C, H, W).

    Parameters
    ----------
    scores : float (C,)
        How sure the model is that each structure is there.
    spacing, tolerance : float
        Distance of pixels and tolerance of surface Dice, in mm, or 1 and pixels; None measures no surfaces.
    """
    values = {
        name: _by_class(classes, [float(value) for value in function(prediction, truth)])
        for name, function in _OVERLAP.items()
    }
    values["label_accuracy"] = {"mean": label_accuracy(prediction, truth)}
    values["mean_iou"] = {"mean": mean_iou(prediction, truth)}
    values["lesion_dice"] = _by_class(classes, [lesion_dice(p, t) for p, t in zip(prediction, truth, strict=True)])
    if spacing is not None:
        values |= _surfaces(classes, prediction, truth, spacing, tolerance)
    bins = calibration_sums(
        torch.from_numpy(np.ascontiguousarray(probabilities))[None], torch.from_numpy(np.ascontiguousarray(truth))[None]
    )
    return FilmMeasures(
        values,
        np.array([np.count_nonzero(mask) for mask in truth], np.int64),
        np.array([np.count_nonzero(mask) for mask in prediction], np.int64),
        scores.astype(np.float64),
        bins.numpy() / (truth.shape[1] * truth.shape[2]),
    )


def _surfaces(
    classes: Sequence[str],
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing: float,
    tolerance: float,
) -> dict[str, dict[str, float]]:
    distances = [surface_distances(p, t, (spacing, spacing)) for p, t in zip(prediction, truth, strict=True)]
    return {
        "hd95": _by_class(classes, [distance.hd95 for distance in distances]),
        "assd": _by_class(classes, [distance.assd for distance in distances]),
        "surface_dice": _by_class(classes, [distance.dice(tolerance) for distance in distances]),
    }


def _by_class(classes: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """Values by class, and their mean over the classes for which they are defined."""
    defined = [value for value in values if value == value]
    mean = sum(defined) / len(defined) if defined else float("nan")
    return dict(zip(classes, values, strict=True)) | {"mean": mean}
