"""The page: whole, self-contained, escaped, and showing the films that it says it shows."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from raycxr.report.chart import area_chart, grey_level_chart
from raycxr.report.contact_sheet import contact_sheet_page
from raycxr.report.film_sample import KINDS
from raycxr.report.inspection import Inspection
from raycxr.report.tile import SIDE, make_tile

Inspect = Callable[..., Inspection]

VOID = {"meta", "img", "input", "br", "hr", "link"}


class Page(HTMLParser):
    """Tags of a page; fails where one is closed that was not opened last."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def inspection(inspect: Inspect) -> Inspection:
    return inspect(films=38, pictures=24)


@pytest.fixture(scope="module")
def page(inspection: Inspection) -> Page:
    return Page(contact_sheet_page(inspection))


def test_the_page_is_balanced_and_fetches_nothing(page: Page) -> None:
    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    addresses = [
        value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href", "srcset")
    ]
    assert len(addresses) > 20
    assert all(address and address.startswith("data:image/") for address in addresses)
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_hostile_names_are_text(page: Page, inspection: Inspection) -> None:
    hostile = next(tile.id for tile in inspection.sample.sheet["not annotated"] if tile.id.startswith("<img"))
    assert hostile in page.text
    assert not any(attributes.get("src") == "x" for attributes in page.all("img"))


def test_every_picture_is_described(page: Page) -> None:
    assert all(attributes.get("alt") for attributes in page.all("img"))
    drawings = [attributes for attributes in page.all("svg") if attributes.get("class") != "key"]
    assert all(attributes.get("role") == "img" and attributes.get("aria-label") for attributes in drawings)


def test_the_sheet_shows_every_kind(page: Page, inspection: Inspection) -> None:
    sheet = inspection.sample.sheet
    assert {kind: len(tiles) for kind, tiles in sheet.items()} == dict(zip(KINDS, (16, 4, 4), strict=True))
    assert all(tile.annotated and any(tile.outlines) for tile in sheet["positive"])
    assert all(tile.annotated and not any(tile.outlines) for tile in sheet["annotated as empty"])
    assert not any(tile.annotated for tile in sheet["not annotated"])
    assert page.text.count("no mask") == 4 + sum(not tile.annotated for _, tile in inspection.sample.extremes)
    for tiles in sheet.values():
        for tile in tiles:
            assert tile.id in page.text
    figures = page.all("figure")
    means = 2
    assert len(figures) == 24 + len(inspection.sample.extremes) + means


def test_the_counts_and_the_rejects_are_told(page: Page, inspection: Inspection) -> None:
    for number in ("38", "34", "30"):
        assert number in page.text
    assert inspection.manifest.id in page.text
    assert inspection.manifest.decoder in page.text
    for row in inspection.rejects:
        assert row["reason"] in page.text
        assert row["detail"] in page.text
        assert row["original"].rpartition("/")[2] in page.text
    assert "2 films with equal pixels in 1 group" in page.text


def test_extremes_are_extreme(inspection: Inspection) -> None:
    extremes = dict(inspection.sample.extremes)
    kinds = [why.split(":")[0] for why in extremes]
    assert kinds == ["darkest", "brightest", "lowest contrast", "smallest lungs", "largest lungs"]
    darkest, brightest = (
        next(decode(tile.picture).mean() for why, tile in extremes.items() if why.startswith(kind))
        for kind in ("darkest", "brightest")
    )
    shown = [decode(tile.picture).mean() for tiles in inspection.sample.sheet.values() for tile in tiles]
    assert darkest < np.median(shown) < brightest


def test_an_outline_encloses_its_mask() -> None:
    field = np.zeros((96, 96), np.uint8)
    field[24:48, 12:60] = 1
    row = {"id": "film", "split": "train", "labels": "{}", "annotated": True}
    tile = make_tile(row, np.full((96, 96), 128, np.uint8), field, 2)
    assert tile.outlines[1] == ""
    points = np.array(
        [[float(part) for part in pair.split()] for pair in re.findall(r"[\d.]+ [\d.]+", tile.outlines[0])]
    )
    scale = SIDE / 96
    assert points.min(axis=0) == pytest.approx([12 * scale, 24 * scale], abs=2)
    assert points.max(axis=0) == pytest.approx([60 * scale, 48 * scale], abs=2)
    assert decode(tile.picture).shape == (96, 96)


def test_charts_of_one_value() -> None:
    counts = np.zeros(256, np.int64)
    counts[255] = 7
    nothing = np.zeros(256, np.int64)
    for svg in (
        grey_level_chart(counts, {"train": counts, "validation": nothing, "test": nothing}),
        area_chart(np.array([0.5]), "red"),
    ):
        assert Page(svg).open == []
        assert "nan" not in svg
        assert "inf" not in svg


def test_a_picture_is_a_picture(inspection: Inspection) -> None:
    page = contact_sheet_page(inspection)
    pictures = re.findall(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", page)
    shapes = {decode(base64.b64decode(content)).shape for _, content in pictures}
    assert shapes == {(256, 256), (48, 48)}


def decode(picture: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return np.asarray(image)
