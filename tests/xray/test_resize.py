from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raycxr.xray.resize import fit_inside, letterbox_image, letterbox_mask, resize_image, undo_letterbox

SIDES = st.integers(1, 60)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.float32]), SHAPES, elements=st.integers(0, 255)))
def test_resizing_to_the_same_size_changes_nothing(image: np.ndarray) -> None:
    np.testing.assert_array_equal(resize_image(image, *image.shape), image)


def test_shrinking_averages_the_area() -> None:
    image = np.arange(48, dtype=np.float32).reshape(6, 8)
    expected = image.reshape(3, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_image(image, 3, 4), expected)


def test_each_axis_has_its_own_rule() -> None:
    image = np.array([[0, 0, 8, 8], [4, 4, 12, 12]], np.float32)
    resized = resize_image(image, 4, 2)
    np.testing.assert_allclose(resized, [[0, 8], [1, 9], [3, 11], [4, 12]])


@given(SHAPES, SIDES, SIDES)
def test_a_flat_image_stays_flat(shape: tuple[int, ...], height: int, width: int) -> None:
    resized = resize_image(np.full(shape, 37, np.uint16), height, width)
    assert resized.shape == (height, width)
    assert (resized == 37).all()


@given(SIDES, SIDES, SIDES)
def test_a_film_fits_and_fills_its_square(height: int, width: int, target: int) -> None:
    fit = fit_inside(height, width, target)
    assert max(fit.height, fit.width) == target
    assert min(fit.height, fit.width) >= 1
    assert fit.top == (target - fit.height) // 2
    assert fit.left == (target - fit.width) // 2
    scale = target / max(height, width)
    assert fit.height == 1 or abs(fit.height - height * scale) <= 0.5
    assert fit.width == 1 or abs(fit.width - width * scale) <= 0.5


@given(SIDES, SIDES)
def test_a_square_film_has_no_padding(side: int, target: int) -> None:
    assert fit_inside(side, side, target) == (target, target, 0, 0)


def test_the_padding_is_black_and_belongs_to_no_class() -> None:
    image = letterbox_image(np.full((10, 20), 200, np.uint8), 8)
    field = letterbox_mask(np.full((10, 20), 3, np.uint8), 8, classes=2)
    assert image.tolist() == [[0] * 8] * 2 + [[200] * 8] * 4 + [[0] * 8] * 2
    np.testing.assert_array_equal(field, image // 200 * 3)


@given(SIDES, SIDES, st.integers(2, 40))
def test_image_and_mask_lie_in_the_same_place(height: int, width: int, target: int) -> None:
    image = letterbox_image(np.full((height, width), 255, np.uint8), target)
    field = letterbox_mask(np.ones((height, width), np.uint8), target, classes=1)
    np.testing.assert_array_equal(image > 0, field > 0)


@given(SIDES, SIDES, st.integers(2, 40))
def test_undo_gives_back_the_film_without_padding(height: int, width: int, target: int) -> None:
    inside = letterbox_image(np.ones((height, width), np.float32), target)
    back = undo_letterbox(np.stack([inside, 2 * inside]), height, width)
    assert back.shape == (2, height, width)
    np.testing.assert_allclose(back[0], 1, rtol=1e-6)
    np.testing.assert_allclose(back[1], 2, rtol=1e-6)


def test_undo_puts_structures_back_in_their_place() -> None:
    y, x = np.mgrid[:300, :200]
    film = ((y - 210) ** 2 + (x - 60) ** 2 < 40**2).astype(np.float32)
    back = undo_letterbox(letterbox_image(film, 128)[None], 300, 200)[0] > 0.5
    overlap = (back & (film > 0)).sum() / (back | (film > 0)).sum()
    assert overlap > 0.97
