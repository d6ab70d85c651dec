from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from raycxr.metrics.calibration import BINS, calibration_error, calibration_sums


def _maps(seed: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(0.3, 1.0, shape).astype(np.float32)
    truth = generator.random(shape) < probabilities**1.5
    return torch.from_numpy(probabilities), torch.from_numpy(truth)


def _error(probabilities: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The definition, with the bins of scikit-learn."""
    true, mean = calibration_curve(truth.ravel(), probabilities.ravel(), n_bins=BINS)
    pixels, _ = np.histogram(probabilities, np.linspace(0, 1, BINS + 1))
    return float((np.abs(true - mean) * pixels[pixels > 0]).sum() / pixels.sum())


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3), st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_agrees_with_scikit_learn(seed: int, films: int, classes: int, size: int) -> None:
    probabilities, truth = _maps(seed, (films, classes, size, size))
    found = calibration_error(calibration_sums(probabilities, truth).numpy())
    assert found.shape == (classes,)
    for position in range(classes):
        expected = _error(probabilities[:, position].numpy(), truth[:, position].numpy())
        assert found[position] == pytest.approx(expected, abs=4e-5)
        assert 0 <= found[position] <= 1


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_workers_add_up_to_the_whole_exactly(seed: int, workers: int) -> None:
    probabilities, truth = _maps(seed, (7, 2, 9, 11))
    whole = calibration_sums(probabilities, truth)
    parts = [calibration_sums(probabilities[rank::workers], truth[rank::workers]) for rank in range(workers)]
    assert torch.equal(torch.stack(parts).sum(dim=0), whole)
    assert int(whole[:, 0].sum()) == probabilities.numel()
    assert int(whole[:, 2].sum()) == int(truth.sum())


def test_by_hand() -> None:
    probabilities = torch.tensor([0.0, 0.0, 0.5, 0.5, 1.0]).reshape(1, 1, 1, 5)
    truth = torch.tensor([False, False, True, False, False]).reshape(1, 1, 1, 5)
    # Only the last pixel is wrong about itself, by its whole probability.
    assert calibration_error(calibration_sums(probabilities, truth).numpy()) == pytest.approx(1 / 5, abs=4e-5)
    assert calibration_error(calibration_sums(1 - probabilities, truth).numpy()) == pytest.approx(2 / 5, abs=4e-5)


def test_nothing_and_not_a_number() -> None:
    assert np.isnan(calibration_error(np.zeros((3, BINS))))
    broken = torch.full((1, 1, 4, 4), float("nan"))
    assert int(calibration_sums(broken, torch.zeros(1, 1, 4, 4, dtype=torch.bool))[0, 0].sum()) == 16
