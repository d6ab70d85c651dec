"""Figures of yes-or-no decisions against scikit-learn, and their bootstrap intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from raycxr.metrics.binary import FIGURES, binary_figures, binary_intervals

films = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=40)


@settings(deadline=None)
@given(films, st.sampled_from([0.2, 0.5, 0.7]))
def test_figures_are_those_of_scikit_learn(films: list[tuple[int, bool]], threshold: float) -> None:
    probabilities, labels = np.array([score / 10 for score, _ in films]), np.array([label for _, label in films])
    called = probabilities > threshold
    expected = {
        "accuracy": metrics.accuracy_score(labels, called),
        "precision": metrics.precision_score(labels, called, zero_division=math.nan),
        "recall": metrics.recall_score(labels, called, zero_division=math.nan),
        "f1": metrics.f1_score(labels, called, zero_division=math.nan),
    }
    if 0 < labels.sum() < len(labels):
        expected["auc"] = metrics.roc_auc_score(labels, probabilities)
    figures = binary_figures(probabilities, labels, threshold)
    assert tuple(figures) == FIGURES
    for name in FIGURES:
        assert figures[name] == pytest.approx(expected.get(name, math.nan), nan_ok=True)


def test_intervals_are_repeatable_and_about_as_wide_as_theory_says() -> None:
    generator = np.random.default_rng(3)
    labels = generator.random(400) < 0.5
    probabilities = np.where(generator.random(400) < 0.8, labels, ~labels) * 0.8 + 0.1
    intervals = binary_intervals(probabilities, labels, 0.5, seed=0, resamples=1000)
    assert intervals == binary_intervals(probabilities, labels, 0.5, seed=0, resamples=1000)
    accuracy = binary_figures(probabilities, labels, 0.5)["accuracy"]
    low, high = intervals["accuracy"]
    half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / 400)
    assert low == pytest.approx(accuracy - half, abs=0.01)
    assert high == pytest.approx(accuracy + half, abs=0.01)


def test_what_is_undefined_has_no_interval() -> None:
    intervals = binary_intervals(np.array([0.1, 0.2]), np.array([False, False]), 0.5, seed=0, resamples=20)
    assert intervals["accuracy"] == pytest.approx((1, 1))
    assert all(math.isnan(end) for name in ("precision", "recall", "f1", "auc") for end in intervals[name])
