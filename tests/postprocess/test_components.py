"""Components and holes against scipy's own functions and a search by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from raycxr.postprocess.components import choose_components, fill_holes

masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=14))


def flood(mask: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """Components in the order of their first pixels."""
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    components = []
    for start in sorted(left):
        if start not in left:
            continue
        component, front = {start}, [start]
        left.discard(start)
        while front:
            row, column = front.pop()
            near = {(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= near
            component |= near
            front += near
        components.append(component)
    return components


@given(masks, st.integers(1, 4), st.floats(0, 0.3))
@settings(deadline=None)
def test_the_largest_components(mask: NDArray[np.bool_], most: int, min_area: float) -> None:
    components = sorted(flood(mask), key=len, reverse=True)
    expected = np.zeros(mask.shape, bool)
    for component in components[:most]:
        if len(component) / mask.size >= min_area:
            expected[tuple(np.array(sorted(component)).T)] = True
    assert np.array_equal(choose_components(mask, min_area, most), expected)


@given(masks)
@settings(deadline=None)
def test_holes_as_scipy_fills_them(mask: NDArray[np.bool_]) -> None:
    assert np.array_equal(fill_holes(mask), binary_fill_holes(mask))
