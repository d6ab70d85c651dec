from __future__ import annotations

import numpy as np
import pytest

from raycxr.postprocess.threshold import argmax_labels, threshold


def test_each_class_has_its_threshold_and_equality_does_not_count() -> None:
    probabilities = np.array([[[0.2, 0.5, 0.6]], [[0.2, 0.5, 0.6]]], np.float32)
    masks = threshold(probabilities, [0.5, 0.1])
    assert masks.dtype == np.bool_
    assert masks.tolist() == [[[False, False, True]], [[True, True, True]]]
    assert not threshold(np.full((1, 1, 1), 0.7, np.float32), [0.7]).any()


@pytest.mark.parametrize("thresholds", [[0.5], [0.5, 0.5, 0.5]])
def test_one_threshold_per_class(thresholds: list[float]) -> None:
    with pytest.raises(ValueError, match="thresholds for probabilities"):
        threshold(np.zeros((2, 3, 3), np.float32), thresholds)


def test_the_most_probable_class() -> None:
    probabilities = np.array([[[0.5, 0.1, 0.4]], [[0.3, 0.1, 0.4]], [[0.2, 0.8, 0.2]]], np.float32)
    labels = argmax_labels(probabilities)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 2, 0]]
    with pytest.raises(ValueError, match="must be"):
        argmax_labels(probabilities[0])
