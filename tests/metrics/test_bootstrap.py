from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raycxr.metrics.bootstrap import mean_interval, percentile_interval, resample, weighted_mean


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.integers(0, 1000))
@settings(deadline=None)
def test_repeatable_and_around_the_mean(values: list[float], seed: int) -> None:
    mean, low, high = mean_interval(values, seed, resamples=200)
    assert (mean, low, high) == mean_interval(values, seed, resamples=200)
    assert mean == pytest.approx(np.mean(values))
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).beta(20, 2, size=60)
    mean, low, high = mean_interval(values, seed=1, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert low == pytest.approx(theirs.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.high, abs=0.03 * width)
    assert low < mean < high


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_many_images_in_blocks_give_the_normal_interval(level: float) -> None:
    values = np.random.default_rng(3).normal(5, 2, size=12_000)
    mean, low, high = mean_interval(values, seed=0, resamples=1000, level=level)
    half_width = stats.norm.ppf((1 + level) / 2) * values.std() / math.sqrt(values.size)
    assert (high - low) / 2 == pytest.approx(half_width, rel=0.12)
    assert (high + low) / 2 == pytest.approx(mean, abs=0.2 * half_width)


def test_undefined_values_are_left_out() -> None:
    values = [0.8, math.nan, 0.9, math.nan, 0.7]
    assert mean_interval(values, seed=4) == mean_interval([0.8, 0.9, 0.7], seed=4)


@pytest.mark.parametrize("values", [[], [math.nan, math.nan]])
def test_nothing_defined(values: list[float]) -> None:
    assert all(math.isnan(number) for number in mean_interval(values, seed=0))


def test_one_image_has_no_spread() -> None:
    assert mean_interval([0.25], seed=0) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(("resamples", "level"), [(0, 0.95), (100, 1.0), (100, 0.0)])
def test_impossible_settings(resamples: int, level: float) -> None:
    with pytest.raises(ValueError, match="resamples must be"):
        mean_interval([0.5], seed=0, resamples=resamples, level=level)


def test_resampled_means_give_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(5).beta(20, 2, size=300)
    samples = resample({"mean": weighted_mean(values)}, 300, seed=6, resamples=20_000)["mean"]
    assert samples.shape == (20_000,)
    _, low, high = mean_interval(values, seed=7, resamples=20_000)
    assert percentile_interval(samples) == pytest.approx((low, high), abs=0.03 * (high - low))
    assert np.array_equal(samples, resample({"mean": weighted_mean(values)}, 300, seed=6, resamples=20_000)["mean"])


def test_all_statistics_see_the_same_samples() -> None:
    values = np.random.default_rng(8).random(50)
    drawn = resample({1: weighted_mean(values), 2: weighted_mean(1 - values)}, 50, seed=0, resamples=100)
    np.testing.assert_allclose(drawn[1] + drawn[2], 1)
    counts = resample({"films": lambda counts: counts.sum(axis=1)}, 50, seed=0, resamples=100)["films"]
    assert (counts == 50).all()


def test_undefined_values_are_left_out_of_every_sample() -> None:
    mean = weighted_mean(np.array([0.5, math.nan, 1.0]))
    counts = np.array([[1.0, 5.0, 1.0], [3.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    np.testing.assert_allclose(mean(counts), [0.75, 0.625, math.nan])
    assert percentile_interval(np.array([math.nan, 0.25])) == (0.25, 0.25)
    assert all(math.isnan(end) for end in percentile_interval(np.array([math.nan])))


def test_nothing_to_resample() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        resample({"mean": weighted_mean(np.zeros(0))}, 0, seed=0)
