"""A picture of what augmentation does: some films, each as it is and as the first epochs of a run would see it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from raycxr.config.augment import AugmentSection
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.manifest import Manifest, read_index
from raycxr.report.augmentation_words import augmentation_words
from raycxr.report.film_count import Row
from raycxr.report.film_sample import read_films
from raycxr.storage.location import Location
from raycxr.xray.mask import unpack_bits
from raycxr.xray.outline import COLOURS, find_outlines, grey_levels

FILMS, DRAWS = 4, 7
TILE, GAP, MARGIN, CAPTION = 224, 8, 16, 22
BACKGROUND, INK, MUTED = (17, 19, 23), (235, 235, 235), (160, 160, 160)
LINE = 22
# Letters of the text below the heading that fit in a line.
LINE_LETTERS = 270

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class AugmentationSheet:
    """A drawn sheet: `picture` is (H, W, 3) uint8, RGB; `title` and `words` say what it shows."""

    title: str
    words: str
    picture: Picture

    def encode(self, suffix: str) -> bytes:
        """Bytes of the picture as a file of the kind `suffix`: .png or .jpg."""
        return cv2.imencode(suffix, cv2.cvtColor(self.picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def draw_augmentation(
    dataset: Location, manifest: Manifest, title: str, section: AugmentSection, film_seed: int, seed: int
) -> AugmentationSheet:
    """Draw random changes of `FILMS` films, with the outlines of their masks.

    Parameters
    ----------
    title : str
        Name of the preset or of the configuration.
    film_seed : int
        Of the choice of films.
    seed : int
        Seed of the run: column n is what a run with this seed sees in epoch n.

    Raises
    ------
    DataError
        A shard is missing or damaged.
    """
    rows = _choose(read_index(dataset), film_seed)
    augmentation = Augmentation(section, seed, manifest.geometry.size)
    lines = []
    for row, image, mask in read_films(dataset, manifest, rows):
        field = np.zeros(image.shape, np.uint8) if mask is None else mask
        drawn = [augmentation(image, field, epoch, row["id"]) for epoch in range(1, DRAWS + 1)]
        lines.append((str(row["id"]), [_tile(*pair, len(manifest.classes)) for pair in [(image, field), *drawn]]))
    words = augmentation_words(section)
    if section.where == "device":
        words += "; drawn as where films are read, a run with augment.where = device draws other numbers"
    return AugmentationSheet(title, words, _lay_out(title, words, manifest.classes, lines))


def _choose(index: Sequence[Row], seed: int) -> list[Row]:
    """Films of the training split that show something, where there are some."""
    shuffled = [index[position] for position in np.random.default_rng(seed).permutation(len(index))]
    shuffled.sort(key=lambda row: (row["split"] != "train", not any(row["pixels"] or ())))
    return sorted(shuffled[:FILMS], key=lambda row: (row["shard"], row["row"]))


def _tile(image: NDArray[Any], field: NDArray[np.uint8], classes: int) -> Picture:
    grey = cv2.resize(grey_levels(image), (TILE, TILE), interpolation=cv2.INTER_AREA)
    picture: Picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    for number, mask in enumerate(unpack_bits(field, classes)):
        cv2.drawContours(picture, find_outlines(mask, TILE), -1, COLOURS[number % len(COLOURS)], 1, cv2.LINE_AA)
    return picture


def _lay_out(title: str, words: str, classes: Sequence[str], lines: Sequence[tuple[str, list[Picture]]]) -> Picture:
    settings = textwrap.wrap(words, LINE_LETTERS)
    top = MARGIN + 30 + LINE * len(settings) + 12
    width = 2 * MARGIN + (DRAWS + 1) * (TILE + GAP) - GAP
    height = top + LINE + len(lines) * (TILE + CAPTION) + MARGIN
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _heading(draw, f"Augmentation: {title}", classes)
    for number, line in enumerate(settings):
        draw.text((MARGIN, MARGIN + 30 + LINE * number), line, MUTED, _font(15))
    for column in range(DRAWS + 1):
        left = MARGIN + column * (TILE + GAP)
        draw.text((left, top), f"epoch {column}" if column else "original", INK, _font(14))
        for number, (film_id, pictures) in enumerate(lines):
            place = top + LINE + number * (TILE + CAPTION)
            sheet.paste(Image.fromarray(pictures[column]), (left, place))
            if column == 0:
                draw.text((left, place + TILE + 2), film_id, MUTED, _font(12))
    return np.asarray(sheet)


def _heading(draw: ImageDraw.ImageDraw, title: str, classes: Sequence[str]) -> None:
    draw.text((MARGIN, MARGIN), title, INK, _font(20))
    left = MARGIN + int(draw.textlength(title, _font(20))) + 32
    for number, name in enumerate(classes):
        draw.line([(left, MARGIN + 13), (left + 18, MARGIN + 13)], COLOURS[number % len(COLOURS)], 3)
        draw.text((left + 24, MARGIN + 5), name, MUTED, _font(14))
        left += 24 + int(draw.textlength(name, _font(14))) + 20


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
