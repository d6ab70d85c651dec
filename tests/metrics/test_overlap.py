from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from raycxr.metrics.overlap import dice, iou, label_accuracy, mean_iou, pixel_accuracy, precision, recall

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
        if_nothing = 0.0 if p.any() or t.any() else 1.0
        theirs = precision_score(t, p, zero_division=if_nothing)
        assert precision(prediction, truth)[index] == pytest.approx(theirs)
        assert recall(prediction, truth)[index] == pytest.approx(recall_score(t, p, zero_division=if_nothing))


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


@given(pairs)
@settings(deadline=None)
def test_dice_is_the_harmonic_mean_of_precision_and_recall(pair: tuple[Masks, Masks]) -> None:
    prediction, truth = pair
    right, found = precision(prediction, truth), recall(prediction, truth)
    np.testing.assert_array_equal(right, recall(truth, prediction))
    assert ((right >= 0) & (right <= 1)).all()
    both = np.where(right + found > 0, right + found, 1)
    np.testing.assert_allclose(dice(prediction, truth), 2 * right * found / both)


@given(pairs)
@settings(deadline=None)
def test_mean_iou_counts_the_background_as_a_class(pair: tuple[Masks, Masks]) -> None:
    prediction, truth = pair
    expected = [
        jaccard_score(t.ravel(), p.ravel(), zero_division=1.0)
        for p, t in zip([~prediction.any(axis=0), *prediction], [~truth.any(axis=0), *truth], strict=True)
    ]
    assert mean_iou(prediction, truth) == pytest.approx(np.mean(expected))
    assert mean_iou(prediction, truth) == mean_iou(truth, prediction)


def test_empty_masks() -> None:
    empty, full = np.zeros((1, 3, 3), bool), np.ones((1, 3, 3), bool)
    for metric in (dice, iou, precision, recall):
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
    macro = jaccard_score(true.ravel(), predicted.ravel(), average="macro")
    assert mean_iou(masks(predicted), masks(true)) == pytest.approx(macro)
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
    for metric in (dice, iou, precision, recall, pixel_accuracy, label_accuracy, mean_iou):
        with pytest.raises(ValueError, match="masks must be"):
            metric(prediction, truth)
