"""Lesion-wise Dice: how well each lesion of an image is found and outlined, the small ones as much as the large.

As in the BraTS challenge of 2023 (BraTS-METS, arXiv 2306.00838; code of Saluja 2023, "BraTS-2023-Metrics"): a lesion
is a connected component of the true mask. All predicted components that overlap with it are matched to it, together
they have a Dice with it, 0 where there is none. Predicted components that overlap with no lesion count as further
lesions with a Dice of 0. The score of an image is the mean over both kinds.

What the challenge adds for its volumes is left out: lesions are not merged by dilation and none is too small to count.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def lesion_dice(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the lesion-wise Dice of two boolean masks (H, W), 0 to 1; components are connected by 8 neighbours.

    Two empty masks agree: 1. One empty mask gives 0.
    """
    if prediction.shape != truth.shape or truth.ndim != 2 or truth.size == 0:
        raise ValueError(f"masks must be (H, W) and alike, got {prediction.shape} and {truth.shape}")
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(f"masks must be boolean, got {prediction.dtype} and {truth.dtype}")
    predicted, predicted_sizes = _components(prediction)
    lesions, lesion_sizes = _components(truth)
    if len(predicted_sizes) + len(lesion_sizes) == 0:
        return 1.0
    both = prediction & truth
    # Pairs of a lesion and a predicted component that overlap: only these, as a poor mask has thousands of components.
    codes = lesions[both].astype(np.int64) * (len(predicted_sizes) + 1) + predicted[both]
    pairs, overlap = np.unique(codes, return_counts=True)
    lesion_of, predicted_of = np.divmod(pairs, len(predicted_sizes) + 1)
    intersection = np.bincount(lesion_of - 1, overlap, len(lesion_sizes))
    matched = np.bincount(lesion_of - 1, predicted_sizes[predicted_of - 1], len(lesion_sizes))
    scores = 2 * intersection / (lesion_sizes + matched)
    unmatched = len(predicted_sizes) - len(np.unique(predicted_of))
    return float(scores.sum() / (len(lesion_sizes) + unmatched))


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of the component of every pixel (H, W), from 1, the background 0; and pixels of each (components,)."""
    numbers = np.asarray(cv2.connectedComponents(mask.view(np.uint8), connectivity=8)[1], np.int32)
    # Sorting what the mask covers is several times as fast as counting, and as statistics of all components.
    return numbers, np.unique(numbers[mask], return_counts=True)[1]
