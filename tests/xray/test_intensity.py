from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raycxr.errors import ConfigurationError, DataError
from raycxr.xray.intensity import IntensityRule, invert, percentile

FILMS = hnp.arrays(st.sampled_from([np.uint8, np.uint16]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def counted(film: np.ndarray) -> np.ndarray:
    return np.bincount(film.ravel(), minlength=int(np.iinfo(film.dtype).max) + 1)


@given(FILMS, st.floats(0, 100))
def test_percentile_is_the_inverse_of_the_distribution(film: np.ndarray, share: float) -> None:
    assert percentile(counted(film), share) == np.percentile(film, share, method="inverted_cdf")


@given(FILMS.filter(lambda film: film.min() < film.max()), st.floats(0, 40), st.floats(60, 100))
def test_percentile_rule_stretches_and_keeps_the_order(film: np.ndarray, low: float, high: float) -> None:
    rule = IntensityRule("percentile", low, high)
    if percentile(counted(film), low) == percentile(counted(film), high):
        with pytest.raises(DataError, match="nearly constant"):
            rule.apply(film)
        return
    image, (black, white) = rule.apply(film)
    assert image.dtype == np.uint8
    assert (image[film <= black] == 0).all()
    assert (image[film >= white] == 255).all()
    order = np.argsort(film, axis=None)
    assert (np.diff(image.ravel()[order].astype(int)) >= 0).all()


def test_window_rule_is_linear_and_cuts_off() -> None:
    film = np.array([[0, 1000, 2000, 3000, 4095]], np.uint16)
    image, limits = IntensityRule("window", 1000, 3000).apply(film)
    assert image.tolist() == [[0, 0, 128, 255, 255]]
    assert limits == (1000, 3000)


def test_window_may_reach_beyond_the_type() -> None:
    image, _ = IntensityRule("window", -255, 510).apply(np.array([[0, 255]], np.uint8))
    assert image.tolist() == [[85, 170]]


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_keep_changes_nothing(dtype: type[np.uint8] | type[np.uint16], white: int) -> None:
    film: np.ndarray = np.array([[3, 7]], dtype)
    image, limits = IntensityRule("keep").apply(film)
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, film)
    assert limits == (0, white)


@pytest.mark.parametrize("kind", ["percentile", "window", "keep"])
def test_a_constant_film_is_refused(kind: Literal["percentile", "window", "keep"]) -> None:
    with pytest.raises(DataError, match="constant: every pixel is 7"):
        IntensityRule(kind).apply(np.full((4, 4), 7, np.uint16))


def test_a_film_with_one_odd_pixel_is_refused_by_percentiles() -> None:
    film = np.zeros((100, 100), np.uint8)
    film[5, 5] = 200
    with pytest.raises(DataError, match=r"percentiles 0\.5 and 99\.5 are both 0"):
        IntensityRule().apply(film)


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("percentile", 60, 40), ("window", 5, 5), ("percentile", -1, 50), ("percentile", 1, 101)]
)
def test_impossible_rules_are_refused(kind: Literal["percentile", "window"], low: float, high: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{kind}.*low"):
        IntensityRule(kind, low, high)


@given(hnp.arrays(np.uint16, (3, 4), elements=st.integers(0, 4095)))
def test_inverting_twice_is_nothing(film: np.ndarray) -> None:
    inverted = invert(film, 12)
    assert inverted.dtype == np.uint16
    np.testing.assert_array_equal(inverted.astype(int), 4095 - film.astype(int))
    np.testing.assert_array_equal(invert(inverted, 12), film)


def test_inverting_eight_bits() -> None:
    assert invert(np.array([[0, 1, 255]], np.uint8), 8).tolist() == [[255, 254, 0]]


def test_values_beyond_the_bits_are_refused() -> None:
    with pytest.raises(DataError, match="value 4096, 12 bits reach only to 4095"):
        invert(np.array([[0, 4096]], np.uint16), 12)
