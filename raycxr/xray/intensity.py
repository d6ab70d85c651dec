"""Intensities: from stored pixel values to the grey levels of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.errors import ConfigurationError, DataError

Film: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]


def invert(image: Film, bits: int) -> Film:
    """Swap bright and dark of a film that uses `bits` bits: ``2**bits - 1 - value``.

    Raises
    ------
    DataError
        If a value needs more bits, which means that the film is not what it was taken for.
    """
    white = 2**bits - 1
    largest = int(image.max(initial=0))
    if largest > white:
        raise DataError(
            f"film has the value {largest}, {bits} bits reach only to {white}",
            "check the format and the byte order of the file",
        )
    return np.asarray(image.dtype.type(white) - image)


@dataclass(frozen=True)
class IntensityRule:
    """How stored values become grey levels.

    Parameters
    ----------
    kind : {'percentile', 'window', 'keep'}
        `percentile`: the film's percentiles `low` and `high` become 0 and 255, `window`: the stored values
        `low` and `high` do; values beyond are cut off. `keep`: values stay, in 8 or 16 bits. No kind swaps
        bright and dark: sources hand films over with bright bone and dark lungs.
    low, high : float
        Percentiles (0 to 100) or stored values; without meaning for `keep`.

    Raises
    ------
    ConfigurationError
        If `low` is not below `high`, or a percentile lies outside 0 to 100.
    """

    kind: Literal["percentile", "window", "keep"] = "percentile"
    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        if self.kind != "keep" and not self.low < self.high:
            raise ConfigurationError(f"intensity {self.kind}: low ({self.low:g}) must be below high ({self.high:g})")
        if self.kind == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise ConfigurationError(
                f"intensity percentile: low ({self.low:g}) and high ({self.high:g}) must lie in 0 to 100"
            )

    def apply(self, image: Film) -> tuple[Film, tuple[float, float]]:
        """Map a film of shape (H, W).

        Returns
        -------
        image : uint8 array (H, W)
            With `keep`, the film itself in its own type.
        range : (float, float)
            The stored values that became black and white; with `keep`, the range of the type.

        Raises
        ------
        DataError
            If the film is constant, or its two percentiles are the same value.
        """
        histogram = _histogram(image)
        if np.count_nonzero(histogram) < 2:
            only = int(histogram.argmax())
            raise DataError(f"film is constant: every pixel is {only}", "remove it or replace the file")
        if self.kind == "keep":
            return image, (0.0, float(np.iinfo(image.dtype).max))
        low, high = (self.low, self.high) if self.kind == "window" else self._percentiles(histogram)
        return _stretch(image, low, high), (low, high)

    def _percentiles(self, histogram: NDArray[np.int64]) -> tuple[float, float]:
        low, high = percentile(histogram, self.low), percentile(histogram, self.high)
        if low == high:
            raise DataError(
                f"film is nearly constant: its percentiles {self.low:g} and {self.high:g} are both {low}",
                "remove it, or choose wider percentiles",
            )
        return float(low), float(high)


def percentile(histogram: NDArray[np.int64], share: float) -> int:
    """Return the smallest value that at least `share` percent of the pixels do not exceed.

    From a histogram (pixels per value), which takes one pass where sorting millions of pixels takes many.
    """
    counts = histogram.cumsum()
    rank = max(1, int(np.ceil(counts[-1] * share / 100)))
    return int(np.searchsorted(counts, rank))


def _histogram(image: Film) -> NDArray[np.int64]:
    values = int(np.iinfo(image.dtype).max) + 1
    counts = cv2.calcHist([image], [0], None, [values], [0, values])
    return np.asarray(counts, np.int64).ravel()


def _stretch(image: Film, low: float, high: float) -> NDArray[np.uint8]:
    """Map low..high to 0..255 by a table: there are far fewer values than pixels."""
    values = np.arange(int(np.iinfo(image.dtype).max) + 1, dtype=np.float64)
    table = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table))
