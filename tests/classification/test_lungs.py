"""Films cropped to their lungs, or black outside of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raycxr.classification.lungs import (
    LungFinder,
    is_lung,
    load_lung_finder,
    lung_square,
    reduce_to_lungs,
    two_largest,
)
from raycxr.config.classify import LungsSettings
from raycxr.config.dataset import DatasetSection
from raycxr.errors import ConfigurationError
from raycxr.prediction.target import target_kind
from raycxr.storage.location import Location

SIZE = 64


def box(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top : top + height, left : left + width] = True
    return mask


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 64), st.integers(1, 64), st.floats(0, 0.5))
def test_the_square_holds_the_lungs_and_lies_inside(
    top: int, left: int, height: int, width: int, margin: float
) -> None:
    mask = box(top, left, height, width)
    first, start, side = lung_square(mask, margin)
    assert first >= 0
    assert start >= 0
    assert max(first, start) + side <= SIZE
    assert mask[first : first + side, start : start + side].sum() == mask.sum()


def test_the_margin_is_kept_on_every_side() -> None:
    assert lung_square(box(20, 22, 20, 10), 0.1) == (18, 15, 24)


def test_a_crop_shows_the_lungs_enlarged() -> None:
    mask = box(16, 16, 32, 32)
    image = np.where(mask, 200, 10).astype(np.uint8)
    cropped = reduce_to_lungs(image, mask, "crop", 0.0)
    assert cropped.shape == image.shape
    assert (cropped == 200).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_mask_leaves_what_lies_near_the_lungs(dtype: type) -> None:
    image: np.ndarray = np.ones((SIZE, SIZE), dtype)
    kept = reduce_to_lungs(image, box(30, 30, 4, 4), "mask", 2 / SIZE)
    assert kept.dtype == image.dtype
    assert (kept[30:34, 28:36] == 1).all()
    assert kept.sum() == kept[28:36, 28:36].sum() < 8 * 8  # the corners are round
    assert (reduce_to_lungs(image, box(30, 30, 4, 4), "mask", 0.0) == box(30, 30, 4, 4)).all()


@pytest.mark.parametrize("use", ["crop", "mask"])
def test_a_film_without_lungs_stays_as_it_is(use: str) -> None:
    image = np.arange(SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    assert (reduce_to_lungs(image, np.zeros((SIZE, SIZE), bool), use, 0.1) == image).all()


def test_stray_pixels_are_no_lungs() -> None:
    left, right, stray = box(10, 5, 30, 15), box(12, 40, 25, 12), box(60, 60, 2, 2)
    assert (two_largest(left | right | stray) == (left | right)).all()
    assert (two_largest(left | stray) == left).all()
    assert not two_largest(np.zeros((SIZE, SIZE), bool)).any()


class Bright(torch.nn.Module):
    """Calls lungs what is bright: a stand-in that is easy to check."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 10


def finder(**rule: float) -> LungFinder:
    target = target_kind(DatasetSection(), ["lungs"])
    return LungFinder(Bright(), target, {"rules": {"lungs": rule}})


def test_rules_see_the_film_without_its_padding() -> None:
    # A wide film fills the rows 16 to 47; what is bright are 40 % of it, 20 % of its square.
    images = torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)
    images[:, 20:40, 6:47] = 255
    lungs = box(20, 6, 20, 41)
    for rule in ({"threshold": 0.5, "min_area": 0.3}, {"top": 0.5, "area": 0.3, "bottom": 0.5}):
        found = finder(**rule).find(images, [(500, 1000), (700, 700)])
        assert found.dtype == bool
        assert (found[0] == lungs).all()
        assert not found[1].any()


def test_padding_is_no_lung() -> None:
    bright = torch.full((1, SIZE, SIZE), 255, dtype=torch.uint8)
    found = finder(threshold=0.5).find(bright, [(1000, 500)])
    assert (found[0] == box(0, 16, 64, 32)).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lung", True),
        ("lungs", True),
        ("Left lung", True),
        ("lung_right", True),
        ("lung fields", True),
        ("lung nodule", False),
        ("lungnodule", False),
        ("left heart", False),
        ("both fields", False),
    ],
)
def test_names_of_lungs(name: str, expected: bool) -> None:
    assert is_lung(name) == expected


def test_a_nodule_of_the_lung_is_no_lung(write_segmentation: Callable[..., Location], tmp_path: Path) -> None:
    place = write_segmentation(tmp_path / "bundle")
    assert load_lung_finder(LungsSettings(bundle=place.uri), SIZE)[0].lungs == [0]
    for name in ("config.yaml", "postprocess.json"):
        file = tmp_path / "bundle" / name
        file.write_text(file.read_text().replace('"lungs"', '"lung nodule"'))
    with pytest.raises(ConfigurationError, match="segments lung nodule, no lungs") as caught:
        load_lung_finder(LungsSettings(bundle=place.uri), SIZE)
    assert "such as lungs, left lung or lung field" in caught.value.remedy
