from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from raycxr.metrics.auc import Auc, auc

# Few different scores, so that many are equal.
films = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30)


@given(films)
@settings(deadline=None)
def test_agrees_with_scikit_learn(rows: list[tuple[int, bool, int]]) -> None:
    scores = np.array([score / 5 for score, _, _ in rows])
    positive = np.array([is_positive for _, is_positive, _ in rows])
    drawn = np.array([count for _, _, count in rows], np.float64)
    repeated = np.repeat(np.arange(len(rows)), drawn.astype(int))
    [once, several] = Auc(scores, positive)(np.stack([np.ones(len(rows)), drawn]))
    for found, chosen in ((once, np.arange(len(rows))), (several, repeated)):
        if len(set(positive[chosen])) < 2:
            assert math.isnan(found)
        else:
            assert found == pytest.approx(roc_auc_score(positive[chosen], scores[chosen]))


@given(films, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_only_the_order_of_scores_counts(rows: list[tuple[int, bool, int]], random: object) -> None:
    scores = np.array([score / 5 for score, _, _ in rows])
    positive = np.array([is_positive for _, is_positive, _ in rows])
    found = auc(scores, positive)
    np.testing.assert_equal(auc(np.exp(scores), positive), found)
    backwards = slice(None, None, -1)
    np.testing.assert_equal(auc(scores[backwards], positive[backwards]), found)
    np.testing.assert_allclose(auc(-scores, positive), 1 - found)


def test_separated_films_and_equal_scores() -> None:
    positive = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.2, 0.3, 0.4]), positive) == 1
    assert auc(np.array([0.4, 0.3, 0.2, 0.1]), positive) == 0
    assert auc(np.zeros(4), positive) == 0.5
    assert math.isnan(auc(np.zeros(0), np.zeros(0, bool)))


def test_other_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        Auc(np.zeros(3), np.zeros(4, bool))
