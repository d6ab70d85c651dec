"""The ROC curve against scikit-learn, with ties and without."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from raycxr.metrics.roc_curve import roc_curve

# Few different scores make many ties.
films = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60)


@settings(deadline=None)
@given(films)
def test_the_curve_is_that_of_scikit_learn(films: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([score for score, _ in films]), np.array([label for _, label in films])
    if labels.all() or not labels.any():
        return
    false_positives, true_positives = roc_curve(scores, labels)
    expected = metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert false_positives == pytest.approx(expected[0])
    assert true_positives == pytest.approx(expected[1])
