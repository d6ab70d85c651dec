from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raycxr.errors import DataError
from raycxr.xray.mask import binarise, pack_bits, resize_mask, unpack_bits

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)
SIDES = st.integers(1, 40)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1], [False, True]),
        ([0, 127, 128, 255], [False, False, True, True]),
        ([0, 0], [False, False]),
        ([255, 255], [True, True]),
    ],
)
def test_binarise_eight_bits(values: list[int], expected: list[bool]) -> None:
    assert binarise(np.array([values], np.uint8)).tolist() == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 32767, 32768, 65535], [False, False, True, True]),
        ([0, 255], [False, True]),
        ([0, 1], [False, True]),
    ],
)
def test_binarise_sixteen_bits(values: list[int], expected: list[bool]) -> None:
    assert binarise(np.array([values], np.uint16)).tolist() == [expected]


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 9), st.integers(1, 9))))
def test_pack_and_unpack_are_inverse(masks: np.ndarray) -> None:
    field = pack_bits(list(masks))
    assert field.dtype == np.uint8
    np.testing.assert_array_equal(unpack_bits(field, len(masks)), masks)


def test_bit_i_is_class_i() -> None:
    masks = [np.array([[True, False, True]]), np.array([[False, False, True]])]
    assert pack_bits(masks).tolist() == [[1, 0, 3]]


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="4x3 and 3x4"):
        pack_bits([np.zeros((3, 4), bool), np.zeros((4, 3), bool)])


@pytest.mark.parametrize("count", [0, 9])
def test_a_field_holds_one_to_eight_masks(count: int) -> None:
    with pytest.raises(DataError, match=f"{count} structures"):
        pack_bits([np.zeros((2, 2), bool)] * count)


@given(hnp.arrays(np.uint8, SHAPES))
def test_the_same_size_changes_nothing(field: np.ndarray) -> None:
    np.testing.assert_array_equal(resize_mask(field, field.shape[0], field.shape[1], classes=8), field)


@given(hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 7)), SIDES, SIDES)
def test_only_the_given_classes_are_carried_over(field: np.ndarray, height: int, width: int) -> None:
    resized = resize_mask(field, height, width, classes=2)
    assert resized.shape == (height, width)
    assert resized.max() <= 3
    np.testing.assert_array_equal(resized, resize_mask(field & np.uint8(3), height, width, classes=3))


@given(hnp.arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 2, 3])), SIDES, SIDES)
def test_a_subset_stays_a_subset(field: np.ndarray, height: int, width: int) -> None:
    inner, outer = unpack_bits(resize_mask(field, height, width, classes=2), 2)
    assert not (inner & ~outer).any()


@given(SHAPES, SIDES, SIDES)
def test_full_and_empty_masks_stay_so(shape: tuple[int, ...], height: int, width: int) -> None:
    field = np.full(shape, 2, np.uint8)
    assert (resize_mask(field, height, width, classes=2) == 2).all()


def test_shrinking_takes_the_majority_and_half_is_none() -> None:
    quarters = np.array([[1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 0]], np.uint8)
    assert resize_mask(quarters, 1, 3, classes=1).tolist() == [[0, 0, 1]]


def test_enlarging_keeps_straight_edges_in_place() -> None:
    field = np.zeros((8, 8), np.uint8)
    field[:, 5:] = 1
    np.testing.assert_array_equal(resize_mask(field, 32, 32, classes=1), np.repeat(np.repeat(field, 4, 0), 4, 1))
