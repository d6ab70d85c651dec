"""A film with the outlines of what was found on it, and a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from raycxr.xray.outline import COLOURS
from raycxr.xray.overlay import draw_overlay

# Longest side of a picture, and height of its legend, in pixels.
LONGEST = 1024
LEGEND = 34
_FONT, _BACKGROUND, _INK, _MUTED = 16, (17, 19, 23), (235, 235, 235), (140, 140, 140)


def draw_findings(image: NDArray[np.uint8], masks: NDArray[np.bool_], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Draw outlines and legend.

    Parameters
    ----------
    image : uint8 (H, W)
    masks : bool (C, H, W)
    classes : sequence of str
        Names of the masks; one whose mask is empty is said to be so.

    Returns
    -------
    uint8 (h + LEGEND, w, 3), RGB
        Of the film's shape, its longer side with 1024 pixels at most.
    """
    height, width = image.shape
    longest = max(height, width)
    side = min(LONGEST, longest)
    padding = ((0, longest - height), (0, longest - width))
    square = draw_overlay(
        np.pad(image, padding), np.zeros((0, longest, longest), bool), np.pad(masks, ((0, 0), *padding)), side
    )
    rows, columns = round(height * side / longest), round(width * side / longest)
    picture = Image.new("RGB", (columns, rows + LEGEND), _BACKGROUND)
    picture.paste(Image.fromarray(square[:rows, :columns]))
    _draw_legend(ImageDraw.Draw(picture), rows, [bool(mask.any()) for mask in masks], classes)
    return np.asarray(picture)


def _draw_legend(draw: ImageDraw.ImageDraw, top: int, found: Sequence[bool], classes: Sequence[str]) -> None:
    font, left = ImageFont.load_default(_FONT), 10
    for number, (name, there) in enumerate(zip(classes, found, strict=True)):
        text = name if there else f"{name}: none"
        draw.line([(left, top + LEGEND // 2), (left + 20, top + LEGEND // 2)], COLOURS[number % len(COLOURS)], 3)
        draw.text((left + 26, top + 7), text, _INK if there else _MUTED, font)
        left += 26 + int(draw.textlength(text, font)) + 22
