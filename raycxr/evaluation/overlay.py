"""Pictures of the worst and the best films: true outline and prediction on the film."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from raycxr.evaluation.evaluate import FilmPicture, FilmResult
from raycxr.xray.outline import COLOURS
from raycxr.xray.overlay import TRUTH, draw_overlay

TILE = 384
CAPTION = 46
MARGIN = 12
LEGEND = 40
PER_ROW = 3
BACKGROUND, INK, MUTED = (17, 19, 23), (235, 235, 235), (160, 160, 160)


def contact_sheet(films: Sequence[tuple[FilmResult, FilmPicture]], classes: Sequence[str], title: str) -> bytes:
    """PNG of films with the true outline in white and the prediction in the colour of its structure."""
    columns = min(PER_ROW, len(films))
    rows = -(-len(films) // columns)
    width = columns * (TILE + MARGIN) + MARGIN
    height = LEGEND + rows * (TILE + CAPTION + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _legend(draw, classes, title)
    for number, (film, picture) in enumerate(films):
        left = MARGIN + number % columns * (TILE + MARGIN)
        top = LEGEND + MARGIN + number // columns * (TILE + CAPTION + MARGIN)
        overlay = draw_overlay(picture.image, picture.truth, picture.predicted, TILE)
        sheet.paste(Image.fromarray(overlay), (left, top))
        mean = f"   mean Dice {film.values['dice']['mean']:.3f}"
        name = _shortened(draw, film.id, TILE - draw.textlength(mean, _font(15)), 15)
        draw.text((left, top + TILE + 4), name + mean, INK, _font(15))
        scores = "   ".join(f"{name} {film.values['dice'][name]:.3f}" for name in classes)
        draw.text((left, top + TILE + 24), _shortened(draw, scores, TILE, 13), MUTED, _font(13))
    sink = io.BytesIO()
    sheet.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def _legend(draw: ImageDraw.ImageDraw, classes: Sequence[str], title: str) -> None:
    draw.text((MARGIN, 12), title, INK, _font(17))
    left = MARGIN + int(draw.textlength(title, _font(17))) + 28
    for name, colour in [("true", TRUTH), *zip(classes, COLOURS, strict=False)]:
        draw.line([(left, 22), (left + 18, 22)], colour, 3)
        draw.text((left + 24, 14), name, MUTED, _font(13))
        left += 24 + int(draw.textlength(name, _font(13))) + 18


def _shortened(draw: ImageDraw.ImageDraw, text: str, width: float, size: int) -> str:
    """Text that fits into a width, without its middle where it is longer: the ids of DICOM films end differently."""
    kept = len(text)
    shown = text
    while draw.textlength(shown, _font(size)) > width and kept > 2:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shown


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
