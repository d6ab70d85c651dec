"""One film of a contact sheet: a small picture, and the outlines of its masks as lines that stay sharp."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.html_document import picture_uri
from raycxr.report.film_count import Row
from raycxr.xray.mask import unpack_bits
from raycxr.xray.outline import COLOURS, find_outlines
from raycxr.xray.resize import resize_image

# Pixels of a small picture: twice what a column of the sheet is wide, for fine screens and for print.
SIDE = 384
_QUALITY = 80


@dataclass(frozen=True)
class Tile:
    """A film ready for a page: `picture` is a JPEG, `outlines` the closed lines (SVG path data) of every class."""

    id: str
    split: str
    labels: dict[str, int]
    annotated: bool
    picture: bytes
    outlines: tuple[str, ...]


def make_tile(row: Row, square: NDArray[np.uint8], field: NDArray[np.uint8] | None, classes: int) -> Tile:
    """Make the tile of an index row from its film (H, W) and its bit field."""
    side = min(SIDE, square.shape[0])
    picture = cv2.imencode(".jpg", resize_image(square, side, side), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    masks = () if field is None else unpack_bits(field, classes)
    return Tile(
        row["id"],
        row["split"],
        json.loads(row["labels"]),
        row["annotated"],
        picture.tobytes(),
        tuple(_path(mask) for mask in masks),
    )


def colour(number: int) -> str:
    """CSS colour of a class."""
    return "rgb({} {} {})".format(*COLOURS[number % len(COLOURS)])


def tile_figure(tile: Tile, classes: tuple[str, ...], heading: str = "") -> str:
    """HTML of a film with its outlines and a caption."""
    drawn = [name for name, path in zip(classes, tile.outlines, strict=False) if path]
    seen = "not annotated" if not tile.annotated else f"outlines of {', '.join(drawn)}" if drawn else "an empty mask"
    title = escape(f"film {tile.id}, {tile.split} split, with {seen}" if tile.annotated else f"film {tile.id}, {seen}")
    lines = "".join(
        f"<path d='{path}' stroke='{colour(number)}'/>" for number, path in enumerate(tile.outlines) if path
    )
    labels = "".join(f"<span>{escape(label)} {value}</span>" for label, value in sorted(tile.labels.items()))
    mark = "" if tile.annotated else "<span class='mark'>no mask</span>"
    above = f"<b>{escape(heading).replace(' %', '&nbsp;%')}</b>" if heading else ""
    return (
        f"<figure><svg viewBox='0 0 {SIDE} {SIDE}' role='img' aria-label='{title}'><title>{title}</title>"
        f"<image width='{SIDE}' height='{SIDE}' href='{picture_uri(tile.picture, 'jpeg')}'/>"
        f"<g class='outline'>{lines}</g></svg>"
        f"<figcaption>{above}<code>{escape(tile.id)}</code><span>{escape(tile.split)}</span>{labels}{mark}"
        "</figcaption></figure>"
    )


def _path(mask: NDArray[np.bool_]) -> str:
    """SVG path data of a mask's outlines, in a square of `SIDE`; straight runs are drawn as one line."""
    parts = []
    for outline in find_outlines(mask, SIDE):
        points = cv2.approxPolyDP(outline, 0.7, closed=True).reshape(-1, 2)
        # Half a pixel on: contours run through the middle of pixels.
        parts.append("M" + "L".join(f"{x}.5 {y}.5" for x, y in points) + "Z")
    return "".join(parts)
