"""Scales: places, ticks, and which candidates they leave at the end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycxr.number_text import duration
from raycxr.report.scale import Scale, metric_scale, padded, spread_scale, tick_text
from raycxr.report.value_colour import value_class

POSITIVE = st.floats(1e-6, 1e6)


@given(POSITIVE, POSITIVE, st.booleans(), st.integers(2, 10))
def test_ticks_are_few_and_in_order_on_the_scale(one: float, other: float, log: bool, most: int) -> None:
    scale = Scale(min(one, other), max(one, other), log)
    ticks = scale.ticks(most)
    assert ticks == sorted(ticks)
    assert len(ticks) <= most + 1
    room = 1e-9 * scale.high
    assert all(scale.low - room <= tick <= scale.high + room for tick in ticks)


@given(POSITIVE, POSITIVE, POSITIVE, st.booleans())
def test_places_keep_the_order_and_stay_on_the_scale(one: float, other: float, number: float, log: bool) -> None:
    scale = Scale(min(one, other), max(one, other), log)
    assert 0 <= scale.share(number) <= 1
    assert scale.share(number) <= scale.share(number * 1.5)
    assert padded(scale).low < scale.low <= scale.high < padded(scale).high


def test_even_and_logarithmic() -> None:
    assert Scale(0, 10).share(2.5) == 0.25
    assert Scale(1e-4, 1e-2, True).share(1e-3) == pytest.approx(0.5)
    assert Scale(3, 3).share(3) == 0.5
    assert Scale(0.91, 0.98).ticks(5) == pytest.approx([0.92, 0.94, 0.96, 0.98])
    assert Scale(1e-4, 1e-2, True).ticks(6) == pytest.approx([1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    assert [tick_text(number) for number in (0, 3 * 0.1, 1e-5, 2000)] == ["0", "0.3", "1e-05", "2000"]


def test_logarithmic_where_wide() -> None:
    assert spread_scale([1, 30]).log
    assert not spread_scale([2, 30]).log
    assert not spread_scale([0, 30]).log


def test_a_scale_of_a_metric_leaves_out_what_did_far_worse() -> None:
    values = [0.90, 0.91, 0.92, 0.93, 0.94, 0.1, math.nan]
    assert metric_scale(values, "max") == Scale(0.90, 0.94)
    losses = metric_scale([1 - value for value in values], "min")
    assert (losses.low, losses.high) == pytest.approx((0.06, 0.10))
    # One that is far better is what was sought.
    assert metric_scale([0.1, 0.11, 0.12, 0.13, 0.9], "max").high == 0.9
    assert metric_scale([0.5], "max") == Scale(0.5, 0.5)


def test_colours_rise_to_the_better_end() -> None:
    scale = Scale(0.2, 0.8)
    values = (0.0, 0.2, 0.5, 0.8, 0.9)
    assert [value_class(value, scale, "max") for value in values] == ["q0", "q0", "q4", "q8", "q8"]
    assert [value_class(value, scale, "min") for value in values] == ["q8", "q8", "q4", "q0", "q0"]


def test_durations() -> None:
    told = [duration(seconds) for seconds in (0, 3.46, 59.7, 60, 260, 3599.6, 3600, 7500)]
    assert told == ["0 s", "3.5 s", "1 min", "1 min", "4 min 20 s", "1 h", "1 h", "2 h 5 min"]
