"""The sheet of changed films: laid out as told, the same again, and what training would see."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from raycxr.config.augment import AugmentSection
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.manifest import read_index, read_manifest
from raycxr.report.augmentation_sheet import DRAWS, GAP, MARGIN, TILE, AugmentationSheet, draw_augmentation
from raycxr.report.augmentation_words import augmentation_words
from raycxr.report.contact_sheet import contact_sheet_page
from raycxr.report.film_sample import read_films
from raycxr.report.inspection import Inspection
from raycxr.storage.location import Location

WIDTH = 2 * MARGIN + (DRAWS + 1) * (TILE + GAP) - GAP


def sheet(dataset: Location, preset: str = "standard", film_seed: int = 0, seed: int = 0) -> AugmentationSheet:
    section = AugmentSection.model_validate({"preset": preset})
    return draw_augmentation(dataset, read_manifest(dataset), preset, section, film_seed, seed)


def columns(drawn: AugmentationSheet) -> list[np.ndarray]:
    """The tiles of each column, with what stands between them."""
    body = drawn.picture[-4 * TILE :]
    return [body[:, left : left + TILE] for left in range(MARGIN, WIDTH - MARGIN, TILE + GAP)]


def test_it_is_drawn_the_same_again_and_otherwise_with_other_seeds(mixed: Location) -> None:
    first = sheet(mixed)
    assert first.picture.shape[1] == WIDTH
    assert np.array_equal(first.picture, sheet(mixed).picture)
    assert not np.array_equal(first.picture, sheet(mixed, seed=1).picture)
    assert not np.array_equal(columns(first)[0], columns(sheet(mixed, film_seed=1))[0])
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(first.encode(".png"), np.uint8), 1), cv2.COLOR_BGR2RGB)
    assert np.array_equal(decoded, first.picture)


def test_every_column_is_the_original_where_nothing_changes(mixed: Location) -> None:
    drawn = sheet(mixed, "none")
    original, *others = (column[: TILE // 2] for column in columns(drawn))
    assert len(others) == DRAWS
    assert all(np.array_equal(original, other) for other in others)
    assert drawn.words == "nothing changes"
    changed = columns(sheet(mixed, "strong"))
    assert not any(np.array_equal(changed[0], other) for other in changed[1:])


def test_a_column_is_what_a_run_sees_in_that_epoch(mixed: Location) -> None:
    """Without masks there are no outlines, so a tile is the changed film itself."""
    manifest, section = read_manifest(mixed), AugmentSection(preset="strong")
    row = next(row for row in read_index(mixed) if not row["annotated"] and row["split"] == "train")
    ((_, image, _),) = read_films(mixed, manifest, [row])
    changed, _ = Augmentation(section, 3, 48)(image, np.zeros(image.shape, np.uint8), DRAWS, row["id"])
    enlarged = cv2.resize(changed, (TILE, TILE), interpolation=cv2.INTER_AREA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raycxr.report.augmentation_sheet._choose", lambda index, seed: [row])
        picture = draw_augmentation(mixed, manifest, "strong", section, 0, 3).picture
    right = WIDTH - MARGIN
    shown = picture[:, right - TILE : right, 0]
    assert any(np.array_equal(shown[top : top + TILE], enlarged) for top in range(len(shown) - TILE))


def test_the_page_shows_it(inspect: Callable[..., Inspection], mixed: Location) -> None:
    drawn = sheet(mixed, "siim")
    page = contact_sheet_page(inspect(), drawn)
    assert "<h2>Augmentation</h2>" in page
    assert "siim: left and right swapped" in page
    assert "<h2>Augmentation</h2>" not in contact_sheet_page(inspect())


def test_words() -> None:
    assert augmentation_words(AugmentSection(preset="siim")) == (
        "left and right swapped (50 % of draws); "
        "turned by up to 45°, zoomed by up to 10 % and shifted by up to 6.25 % (50 % of draws); "
        "one of elastic distortion by 0.32 % of the width (10 % of draws), grid distortion by 30 % (10 % of draws) and "
        "lens distortion 0.5 (10 % of draws); "
        "one of brightness by up to 20 %, contrast by up to 20 % and gamma 0.8 to 1.2 (30 % of draws)"
    )
    assert augmentation_words(AugmentSection()) == (
        "turned by up to 10°, zoomed by up to 10 % and shifted by up to 5 % (always); "
        "brightness by up to 20 % and contrast by up to 20 % (80 % of draws); gamma 0.8 to 1.2 (80 % of draws)"
    )
    assert augmentation_words(AugmentSection(preset="none", gamma=0.2, blur=0.3, noise=0.05, noise_probability=0)) == (
        "gamma 0.8 to 1.2 (80 % of draws); blur of up to 0.3 % of the width (50 % of draws)"
    )
