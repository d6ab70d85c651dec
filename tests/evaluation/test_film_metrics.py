"""Figures of one film, and what it adds to those of its data set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import precision_score, recall_score

from raycxr.evaluation.film_metrics import FilmMeasures, measure_film
from raycxr.metrics.calibration import BINS, calibration_error
from raycxr.metrics.lesion import lesion_dice
from raycxr.metrics.surface import surface_distances

CLASSES = ("lungs", "lesion")


def masks_of(seed: int) -> NDArray[np.float32]:
    """Smooth random maps (2, 40, 50) from 0 to 1."""
    import cv2

    noise = np.random.default_rng(seed).random((2, 8, 10), np.float32)
    return np.stack([cv2.resize(channel, (50, 40), interpolation=cv2.INTER_LINEAR) for channel in noise])


def measure(probabilities: NDArray[np.float32], truth: NDArray[np.bool_], spacing: float | None = 0.5) -> FilmMeasures:
    return measure_film(CLASSES, probabilities > 0.5, truth, probabilities, np.array([0.25, 0.75]), spacing, 2.0)


def test_every_metric_is_the_one_of_its_name() -> None:
    probabilities, truth = masks_of(1), masks_of(2) > 0.6
    found = measure(probabilities, truth)
    for position, name in enumerate(CLASSES):
        p, t = probabilities[position] > 0.5, truth[position]
        assert found.values["precision"][name] == pytest.approx(precision_score(t.ravel(), p.ravel()))
        assert found.values["recall"][name] == pytest.approx(recall_score(t.ravel(), p.ravel()))
        assert found.values["lesion_dice"][name] == lesion_dice(p, t)
        distances = surface_distances(p, t, (0.5, 0.5))
        assert found.values["hd95"][name] == distances.hd95
        assert found.values["surface_dice"][name] == distances.dice(2.0)
        assert found.true_pixels[position] == t.sum()
        assert found.predicted_pixels[position] == p.sum()
        expected = _calibration_error(probabilities[position], t)
        assert calibration_error(found.calibration[position]) == pytest.approx(expected, abs=4e-5)
    assert found.scores.tolist() == [0.25, 0.75]
    assert set(found.values["mean_iou"]) == set(found.values["label_accuracy"]) == {"mean"}
    np.testing.assert_allclose(found.calibration[:, 0].sum(axis=1), 1)


def _calibration_error(probabilities: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    error = 0.0
    for low in np.arange(BINS) / BINS:
        here = (probabilities >= low) & (probabilities < low + 1 / BINS)
        if here.any():
            error += here.mean() * abs(probabilities[here].mean() - truth[here].mean())
    return error


def test_surfaces_are_measured_where_wanted() -> None:
    found = measure(masks_of(1), masks_of(2) > 0.6, spacing=None)
    assert not {"hd95", "assd", "surface_dice"} & set(found.values)


def test_an_empty_film_left_empty() -> None:
    nothing = np.zeros((2, 40, 50), np.float32)
    found = measure(nothing, nothing > 0)
    for name in ("dice", "iou", "precision", "recall", "lesion_dice", "surface_dice", "mean_iou"):
        assert set(found.values[name].values()) == {1.0}
    assert all(math.isnan(value) for name in ("hd95", "assd") for value in found.values[name].values())
