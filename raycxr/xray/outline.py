"""Outlines of masks, to be drawn over a film, and the colours in which every page and picture shows the structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Colours that keep apart on grey and for most colour-blind readers (Okabe & Ito 2008); RGB, structure after structure.
COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)


def find_outlines(mask: NDArray[np.bool_], side: int) -> Sequence[NDArray[np.int32]]:
    """Closed outlines of a mask (H, W) that is stretched to `side` x `side` pixels.

    Returns
    -------
    sequence of int32 arrays (N, 1, 2)
        Points x, y of every outline, holes included, as OpenCV's drawing functions take them.
    """
    enlarged = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR) >= 0.5
    contours: Sequence[Any] = cv2.findContours(enlarged.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    return contours


def grey_levels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Film (H, W) as it is shown: uint8 as it is, float in 0..1 from black to white."""
    return image if image.dtype == np.uint8 else (image * 255).astype(np.uint8)
