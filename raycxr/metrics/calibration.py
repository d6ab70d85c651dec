"""Calibration: whether of all pixels with a probability of 0.8 about 80 per cent belong to the structure.

The expected calibration error (Naeini 2015; per class, as the class-wise one of Kull 2019) sorts pixels by probability
into 15 bins of equal width and takes the mean, over all pixels, of the distance between the mean probability of a bin
and its share of true pixels. Most pixels of a film are background that nobody doubts, so that small errors are the
rule: compare it between models of one structure, never between structures.

Bins hold counts and sums of whole numbers, which add up to the same for any number of workers and any order. For
that probabilities are rounded to 15,360 levels, which moves the error by less than 0.00004.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BINS = 15
_LEVELS_PER_BIN = 1024
_LEVELS = BINS * _LEVELS_PER_BIN


def calibration_sums(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return what each bin holds: int64 (C, 3, 15) of pixels, of summed levels, and of true pixels.

    Sums of several batches and workers may be added.

    Parameters
    ----------
    probabilities : Tensor
        Float (B, C, H, W), 0 to 1.
    truth : Tensor
        Bool (B, C, H, W).
    """
    # Level and truth in one number of 16 bits, counted in one pass: in float64 it would take twice as long.
    levels = (probabilities * _LEVELS).to(torch.int16).clamp_(0, _LEVELS - 1)
    codes = levels.mul_(2).add_(truth)
    counts = torch.stack([torch.bincount(code.flatten(), minlength=2 * _LEVELS) for code in codes.unbind(dim=1)])
    counts = counts.reshape(-1, _LEVELS, 2)
    # The middle of level l is (2 l + 1) / (2 levels).
    middles = 2 * torch.arange(_LEVELS, device=counts.device) + 1
    of_levels = [counts.sum(dim=2), counts.sum(dim=2) * middles, counts[:, :, 1]]
    return torch.stack([sums.reshape(-1, BINS, _LEVELS_PER_BIN).sum(dim=2) for sums in of_levels], dim=1)


def calibration_error(sums: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the expected calibration error (...), 0 to 1, of sums (..., 3, 15); NaN without a pixel.

    Sums may be weighted, such as by a film's share of all films.
    """
    pixels, levels, true = np.moveaxis(np.asarray(sums, np.float64), -2, 0)
    total = pixels.sum(axis=-1)
    distance = np.abs(levels / (2 * _LEVELS) - true).sum(axis=-1)
    return np.where(total > 0, distance / np.where(total > 0, total, 1), np.nan)
