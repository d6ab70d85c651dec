from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import label

from raycxr.metrics.lesion import lesion_dice

Mask = NDArray[np.bool_]
shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
EIGHT = np.ones((3, 3))


def _lesion_by_lesion(prediction: Mask, truth: Mask) -> float:
    """The definition word by word."""
    predicted, predicted_count = label(prediction, EIGHT)
    lesions, lesion_count = label(truth, EIGHT)
    scores, matched = [], set()
    for lesion in range(1, lesion_count + 1):
        mask = lesions == lesion
        overlapping = set(np.unique(predicted[mask])) - {0}
        matched |= overlapping
        together = np.isin(predicted, list(overlapping))
        scores.append(2 * (together & mask).sum() / (together.sum() + mask.sum()))
    scores += [0.0] * (predicted_count - len(matched))
    return float(np.mean(scores)) if scores else 1.0


@given(pairs)
@settings(deadline=None)
def test_agrees_with_the_definition_on_components_of_scipy(pair: tuple[Mask, Mask]) -> None:
    prediction, truth = pair
    found = lesion_dice(prediction, truth)
    assert found == pytest.approx(_lesion_by_lesion(prediction, truth))
    assert 0 <= found <= 1
    assert lesion_dice(truth, truth) == 1


def test_a_small_lesion_weighs_as_much_as_a_large_one() -> None:
    truth = np.zeros((40, 40), bool)
    truth[2:32, 2:32] = True
    truth[36:38, 36:38] = True
    only_the_large = truth.copy()
    only_the_large[36:38] = False
    assert lesion_dice(only_the_large, truth) == 0.5
    one_more = truth.copy()
    one_more[36, 2] = True
    assert lesion_dice(one_more, truth) == pytest.approx(2 / 3)


def test_parts_of_one_lesion_are_taken_together_and_diagonals_connect() -> None:
    truth = np.zeros((5, 9), bool)
    truth[2, 1:8] = True
    parts = truth.copy()
    parts[2, 4] = False
    assert lesion_dice(parts, truth) == pytest.approx(12 / 13)
    assert lesion_dice(np.eye(4, dtype=bool), np.ones((4, 4), bool)) == pytest.approx(8 / 20)


def test_empty_masks() -> None:
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert lesion_dice(empty, empty) == 1
    assert lesion_dice(full, empty) == lesion_dice(empty, full) == 0


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        (np.ones((2, 2), bool), np.ones((2, 3), bool)),
        (np.ones((1, 2, 2), bool), np.ones((1, 2, 2), bool)),
        (np.ones((2, 2), np.uint8), np.ones((2, 2), bool)),
    ],
)
def test_other_arguments_are_refused(prediction: Mask, truth: Mask) -> None:
    with pytest.raises(ValueError, match="masks must be"):
        lesion_dice(prediction, truth)
