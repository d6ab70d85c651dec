"""Another number of rows and columns: each axis by the area rule when it shrinks, linearly when it grows."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Pixel = TypeVar("Pixel", np.uint8, np.uint16, np.float32)


def resize_image(image: NDArray[Pixel], height: int, width: int) -> NDArray[Pixel]:
    """Resize an image of shape (H, W) to (height, width); the same size gives the same pixels.

    A shrinking axis takes the mean over the area that a new pixel covers, so that nothing is skipped; a
    growing axis is interpolated linearly between pixel centres. One axis may shrink while the other grows.
    """
    rows, columns = min(height, image.shape[0]), min(width, image.shape[1])
    if (rows, columns) != image.shape:
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), image.dtype)
    if (height, width) != image.shape:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), image.dtype)
    return image
