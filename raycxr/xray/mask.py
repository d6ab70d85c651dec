"""Masks: from a picture to true and false, from several structures to one bit field, and to another size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raycxr.errors import DataError
from raycxr.xray.resample import resize_image

MAX_CLASSES = 8


def binarise(picture: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a mask picture of shape (H, W) is set.

    Masks are drawn as 0/1, as 0/255 (anti-aliased ones have values between) or as 0/65535. A value is set
    when it lies in the upper half of its range: above 0 where the largest value is 1, above 127 where it is
    at most 255, above 32767 beyond.
    """
    if picture.dtype == np.bool_:
        return picture.astype(np.bool_)
    largest = int(picture.max(initial=0))
    half = 0 if largest <= 1 else 127 if largest <= 255 else 32767
    return np.asarray(picture > half)


def pack_bits(structures: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Join masks of shape (H, W) to one bit field: bit i of a pixel is set where mask i is.

    Raises
    ------
    DataError
        If there is no mask, more than 8, or two of different sizes.
    """
    if not 1 <= len(structures) <= MAX_CLASSES:
        raise DataError(
            f"{len(structures)} structures do not fit a bit field of {MAX_CLASSES} bits",
            f"choose 1 to {MAX_CLASSES} structures",
        )
    field = np.zeros(structures[0].shape, np.uint8)
    for bit, structure in enumerate(structures):
        if structure.shape != field.shape:
            raise DataError(
                f"masks of one film differ in size: {_size(field)} and {_size(structure)}",
                "give all masks of a film the same size",
            )
        field |= structure.view(np.uint8) << np.uint8(bit)
    return field


def unpack_bits(field: NDArray[np.uint8], classes: int) -> NDArray[np.bool_]:
    """Split a bit field of shape (H, W) into its first `classes` masks, shape (classes, H, W)."""
    bits = (np.uint8(1) << np.arange(classes, dtype=np.uint8)).reshape(-1, 1, 1)
    return np.asarray(field[np.newaxis] & bits).astype(np.bool_)


def resize_mask(field: NDArray[np.uint8], height: int, width: int, classes: int) -> NDArray[np.uint8]:
    """Resize a bit field of shape (H, W) by majority, every class for itself.

    A new pixel is set where the class covers more than half of it (shrinking: of its area; growing: linearly
    interpolated between pixel centres). Exactly one half is not a majority: such a pixel is not set. A class
    that lies inside another one still does afterwards, and the same size leaves everything as it is.

    Returns
    -------
    uint8 array (height, width)
        Only the first `classes` bits are carried over.
    """
    if not field.any():  # three of four films of SIIM-ACR
        return np.zeros((height, width), np.uint8)
    planes = unpack_bits(field, classes)
    if field.shape == (height, width):
        return pack_bits(list(planes))
    return pack_bits([resize_image(plane.astype(np.float32), height, width) > 0.5 for plane in planes])


def _size(mask: NDArray[np.generic]) -> str:
    return f"{mask.shape[1]}x{mask.shape[0]}"
