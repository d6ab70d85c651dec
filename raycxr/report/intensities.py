"""Grey levels over many films: how often each occurs, and what the mean film looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.dataset.split import SPLITS
from raycxr.xray.mask import unpack_bits
from raycxr.xray.outline import grey_levels
from raycxr.xray.resize import fit_inside

LEVELS = 256
# Side of the mean film: what is common to all films has no finer detail.
MEAN_SIDE = 256


class GreyLevels:
    """Pixels by grey level (0 black to 255 white), for each split. The black beside a film does not count."""

    def __init__(self) -> None:
        self.by_split = {name: np.zeros(LEVELS, np.int64) for name in SPLITS}

    def add(self, inside: NDArray[np.uint8], split: str) -> None:
        """Count the pixels of a film."""
        self.by_split[split] += np.bincount(inside.ravel(), minlength=LEVELS)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pixels of all splits, (256,)."""
        return np.asarray(np.sum(list(self.by_split.values()), axis=0), np.int64)

    @property
    def mean(self) -> float:
        """Mean grey level."""
        return float(np.average(np.arange(LEVELS), weights=self.counts))

    @property
    def deviation(self) -> float:
        """Standard deviation of the grey levels."""
        return float(np.sqrt(np.average((np.arange(LEVELS) - self.mean) ** 2, weights=self.counts)))

    def percentile(self, percent: float) -> int:
        """Smallest grey level that `percent` per cent of the pixels do not exceed."""
        below = np.cumsum(self.counts)
        return int(np.searchsorted(below, below[-1] * percent / 100))

    def share(self, level: int) -> float:
        """Share of the pixels (0 to 1) that have one grey level."""
        return float(self.counts[level] / self.counts.sum())


class MeanFilm:
    """Mean of films, and how often each class covers a pixel of them, at `MEAN_SIDE`."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.films = 0
        self.annotated = 0
        self._grey = np.zeros((MEAN_SIDE, MEAN_SIDE), np.float64)
        self._covered = np.zeros((len(self.classes), MEAN_SIDE, MEAN_SIDE), np.float64)

    def add(self, image: NDArray[np.uint8], field: NDArray[np.uint8] | None) -> None:
        """Add a film (H, W) and its bit field."""
        self.films += 1
        self._grey += _small(image)
        if field is not None:
            self.annotated += 1
            for bit, mask in enumerate(unpack_bits(field, len(self.classes))):
                self._covered[bit] += _small(mask.astype(np.float32))

    @property
    def grey(self) -> NDArray[np.uint8]:
        """Mean film, (MEAN_SIDE, MEAN_SIDE)."""
        return np.rint(self._grey / max(1, self.films)).astype(np.uint8)

    @property
    def covered(self) -> NDArray[np.float64]:
        """Share of the annotated films (0 to 1) in which a class covers a pixel, (classes, MEAN_SIDE, MEAN_SIDE)."""
        return self._covered / max(1, self.annotated)


def shown_film(image: NDArray[Any], height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Square film in grey levels, and the part of it that a film of height x width pixels fills."""
    grey = grey_levels(image)
    fit = fit_inside(height, width, image.shape[0])
    return grey, grey[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width]


def _small(image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(cv2.resize(image, (MEAN_SIDE, MEAN_SIDE), interpolation=cv2.INTER_AREA))
