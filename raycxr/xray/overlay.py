"""A film with the outlines of its structures as they are, and as they were predicted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.xray.outline import COLOURS, find_outlines, grey_levels

TRUTH = (255, 255, 255)


def draw_overlay(
    image: NDArray[Any], truth: NDArray[np.bool_], predicted: NDArray[np.bool_], side: int
) -> NDArray[np.uint8]:
    """Draw the true outlines in white, and the predicted ones in the colours of their structures.

    Parameters
    ----------
    image : array
        (H, W), uint8, or float in 0..1.
    truth, predicted : bool arrays
        (C, H, W), at any size.
    side : int
        Pixels of the picture.

    Returns
    -------
    uint8 array
        (side, side, 3), RGB.
    """
    grey = cv2.resize(grey_levels(image), (side, side), interpolation=cv2.INTER_CUBIC)
    picture: NDArray[np.uint8] = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for mask in truth:
        cv2.drawContours(picture, find_outlines(mask, side), -1, TRUTH, 1, cv2.LINE_AA)
    for number, mask in enumerate(predicted):
        cv2.drawContours(picture, find_outlines(mask, side), -1, COLOURS[number % len(COLOURS)], 1, cv2.LINE_AA)
    return picture
