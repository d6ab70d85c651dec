from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from raycxr.metrics.overlap import dice, iou, label_accuracy, pixel_accuracy

Masks = NDArray[np.bool_]
shapes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))


@given(pairs)
@settings(deadline=None)
def test_agrees_with_scikit_learn(pair: tuple[Masks, Masks]) -> None:
    prediction, truth = pair
    for index, (p, t) in enumerate(zip(prediction, truth, strict=True)):
        p, t = p.ravel(), t.ravel()
        assert dice(prediction, truth)[index] == pytest.approx(f1_score(t, p, zero_division=1.0))
        assert iou(prediction, truth)[index] == pytest.approx(jaccard_score(t, p, zero_division=1.0))
        assert pixel_accuracy(prediction, truth)[index] == pytest.approx(accuracy_score(t, p))


@given(pairs)
@settings(deadline=None)
def test_bounds_symmetry_and_relation(pair: tuple[Masks, Masks]) -> None:
    prediction, truth = pair
    for metric in (dice, iou, pixel_accuracy):
        values = metric(prediction, truth)
        assert values.dtype == np.float64
        assert ((values >= 0) & (values <= 1)).all()
        np.testing.assert_array_equal(values, metric(truth, prediction))
        np.testing.assert_array_equal(metric(truth, truth), np.ones(len(truth)))
    jaccard = iou(prediction, truth)
    np.testing.assert_allclose(dice(prediction, truth), 2 * jaccard / (1 + jaccard))


def test_empty_masks() -> None:
    empty, full = np.zeros((1, 3, 3), bool), np.ones((1, 3, 3), bool)
    for metric in (dice, iou):
        assert metric(empty, empty).tolist() == [1.0]
        assert metric(full, empty).tolist() == [0.0]
        assert metric(empty, full).tolist() == [0.0]


def test_label_accuracy_is_the_accuracy_of_labels() -> None:
    generator = np.random.default_rng(0)
    predicted, true = generator.integers(0, 4, (2, 20, 30))

    def masks(labels: NDArray[np.int64]) -> Masks:
        return np.stack([labels == label for label in range(1, 4)])  # the background has no mask

    expected = accuracy_score(true.ravel(), predicted.ravel())
    assert label_accuracy(masks(predicted), masks(true)) == pytest.approx(expected)
    assert label_accuracy(masks(true), masks(true)) == 1.0


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        (np.ones((1, 2, 2), bool), np.ones((2, 2, 2), bool)),
        (np.ones((2, 2), bool), np.ones((2, 2), bool)),
        (np.ones((1, 2, 2), np.uint8), np.ones((1, 2, 2), bool)),
    ],
)
def test_other_arrays_are_refused(prediction: Masks, truth: Masks) -> None:
    for metric in (dice, iou, pixel_accuracy, label_accuracy):
        with pytest.raises(ValueError, match="masks must be"):
            metric(prediction, truth)
