"""Sizes: films fitted into a square with their aspect kept, and predictions brought back to the film."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raycxr.xray.mask import resize_mask
from raycxr.xray.resample import Pixel, resize_image

__all__ = ["Fit", "fit_inside", "letterbox_image", "letterbox_mask", "resize_image", "undo_letterbox"]


class Fit(NamedTuple):
    """Where a film lies in its square, in pixels of the square."""

    height: int
    width: int
    top: int
    left: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the film in its square."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def fit_inside(height: int, width: int, target: int) -> Fit:
    """Fit a film of height x width pixels into the middle of a square of side `target`.

    The longer side fills the square, the other one is rounded to the nearest pixel (at least 1); where the
    padding is odd, it is one pixel larger at the bottom or right. A square film has no padding.
    """
    longest = max(height, width)
    rows = max(1, (2 * height * target + longest) // (2 * longest))
    columns = max(1, (2 * width * target + longest) // (2 * longest))
    return Fit(rows, columns, (target - rows) // 2, (target - columns) // 2)


def letterbox_image(image: NDArray[Pixel], target: int) -> NDArray[Pixel]:
    """Fit a film of shape (H, W) into a square (target, target) with zeros beside it."""
    fit = fit_inside(image.shape[0], image.shape[1], target)
    return _pad(resize_image(image, fit.height, fit.width), fit, target)


def letterbox_mask(field: NDArray[np.uint8], target: int, classes: int) -> NDArray[np.uint8]:
    """Fit a bit field of shape (H, W) into a square (target, target); the padding belongs to no class."""
    fit = fit_inside(field.shape[0], field.shape[1], target)
    return _pad(resize_mask(field, fit.height, fit.width, classes), fit, target)


def undo_letterbox(map_: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bring maps of shape (C, target, target) back to a film of height x width: (C, height, width).

    The padding is cut off; the rest is enlarged linearly (or averaged, for films smaller than the square).
    """
    fit = fit_inside(height, width, map_.shape[1])
    inside = map_[:, *fit.slices]
    return np.stack([resize_image(np.ascontiguousarray(plane), height, width) for plane in inside])


def _pad(inside: NDArray[Pixel], fit: Fit, target: int) -> NDArray[Pixel]:
    if inside.shape == (target, target):
        return inside
    square = np.zeros((target, target), inside.dtype)
    square[fit.slices] = inside
    return square
