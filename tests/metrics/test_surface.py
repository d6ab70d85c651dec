from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial.distance import cdist

from raycxr.metrics.surface import surface_distances, surface_pixels

Mask = NDArray[np.bool_]
shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
masks = shapes.flatmap(lambda shape: arrays(np.bool_, shape))
pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
spacings = st.tuples(st.sampled_from([0.175, 1.0, 2.5]), st.sampled_from([0.2, 1.0, 3.0]))


def _square(size: int, top: int, left: int, side: int) -> Mask:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@given(masks)
@settings(deadline=None)
def test_the_surface_is_what_erosion_takes_away(mask: Mask) -> None:
    expected = np.argwhere(mask & ~binary_erosion(mask))
    np.testing.assert_array_equal(surface_pixels(mask), expected)


@given(pairs, spacings)
@settings(deadline=None)
def test_agrees_with_all_pairs_of_surface_pixels(pair: tuple[Mask, Mask], spacing: tuple[float, float]) -> None:
    prediction, truth = pair
    found = surface_distances(prediction, truth, spacing)
    if not prediction.any() or not truth.any():
        assert math.isnan(found.hd95)
        assert math.isnan(found.assd)
        return
    points = [np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in pair]
    distances = cdist(*points)
    forward, backward = distances.min(axis=1), distances.min(axis=0)
    expected = max(np.percentile(forward, 95), np.percentile(backward, 95))
    assert found.hd95 == pytest.approx(expected)
    assert found.assd == pytest.approx(np.mean([*forward, *backward]))


@given(pairs, spacings, st.sampled_from([0.0, 0.2, 1.0, 2.0, 3.5]))
@settings(deadline=None)
def test_surface_dice_agrees_with_distance_transforms(
    pair: tuple[Mask, Mask], spacing: tuple[float, float], tolerance: float
) -> None:
    prediction, truth = pair
    found = surface_distances(prediction, truth, spacing).dice(tolerance)
    assert found == surface_distances(truth, prediction, spacing).dice(tolerance)
    surfaces = [mask & ~binary_erosion(mask) for mask in pair]
    if not surfaces[0].any() or not surfaces[1].any():
        assert found == (1 if not surfaces[0].any() and not surfaces[1].any() else 0)
        return
    within = 0
    for mine, others in (surfaces, surfaces[::-1]):
        within += (distance_transform_edt(~others, sampling=spacing)[mine] <= tolerance + 1e-9).sum()
    assert found == pytest.approx(within / sum(surface.sum() for surface in surfaces))


def test_surface_dice_forgives_what_lies_within_the_tolerance() -> None:
    shifted = surface_distances(_square(20, 5, 5, 6), _square(20, 5, 7, 6), spacing=(0.5, 0.5))
    assert shifted.dice(1.0) == 1
    assert 0 < shifted.dice(0.5) < 1
    assert surface_distances(_square(20, 5, 5, 6), np.zeros((20, 20), bool)).dice(1e9) == 0


@given(pairs)
@settings(deadline=None)
def test_symmetric_and_zero_for_equal_masks(pair: tuple[Mask, Mask]) -> None:
    prediction, truth = pair
    forth, back = surface_distances(prediction, truth), surface_distances(truth, prediction)
    np.testing.assert_equal((forth.hd95, forth.assd), (back.hd95, back.assd))
    same = surface_distances(truth, truth)
    np.testing.assert_equal((same.hd95, same.assd), (0.0, 0.0) if truth.any() else (math.nan, math.nan))


def test_pixels_by_hand() -> None:
    found = surface_distances(_square(9, 1, 1, 1), _square(9, 4, 5, 1), spacing=(2.0, 0.5))
    assert found.hd95 == found.assd == pytest.approx(math.hypot(3 * 2.0, 4 * 0.5))


def test_a_shifted_square_by_hand() -> None:
    # 4x4 squares shifted by one column: on each surface of 12 pixels, one column of 4 lies 1 off, the two
    # inner pixels of the opposite column 1 off, and the other 6 lie on both.
    found = surface_distances(_square(10, 3, 3, 4), _square(10, 3, 4, 4))
    assert sorted(found.of_prediction.tolist()) == [0.0] * 6 + [1.0] * 6
    assert found.hd95 == 1.0
    assert found.assd == 0.5


def test_hd95_forgives_a_speck_that_the_largest_distance_does_not() -> None:
    truth = _square(100, 20, 20, 40)
    prediction = truth.copy()
    prediction[95, 95] = True
    found = surface_distances(prediction, truth)
    assert found.of_prediction.max() == pytest.approx(math.hypot(36, 36))
    assert found.hd95 == 0


def test_an_empty_mask_is_infinitely_far() -> None:
    found = surface_distances(_square(8, 2, 2, 3), np.zeros((8, 8), bool))
    assert found.of_prediction.tolist() == [math.inf] * 8
    assert found.of_truth.size == 0


@pytest.mark.parametrize(
    ("prediction", "truth", "spacing"),
    [
        (np.ones((2, 2), bool), np.ones((2, 3), bool), (1.0, 1.0)),
        (np.ones((1, 2, 2), bool), np.ones((1, 2, 2), bool), (1.0, 1.0)),
        (np.ones((2, 2), np.uint8), np.ones((2, 2), bool), (1.0, 1.0)),
        (np.ones((2, 2), bool), np.ones((2, 2), bool), (0.0, 1.0)),
    ],
)
def test_other_arguments_are_refused(prediction: Mask, truth: Mask, spacing: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        surface_distances(prediction, truth, spacing)
