from __future__ import annotations

import numpy as np
import pytest
import torch

from raycxr.metrics.film_score import film_scores


def test_the_mean_of_the_highest_pixels() -> None:
    maps = np.random.default_rng(0).random((3, 2, 100, 130), np.float32)
    found = film_scores(torch.from_numpy(maps))
    expected = np.sort(maps.reshape(3, 2, -1), axis=2)[:, :, -13:].mean(axis=2)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_one_pixel_at_least() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 3, 4] = 0.75
    assert film_scores(maps).tolist() == [[0.75]]


def test_a_lone_pixel_of_a_large_film_is_not_a_lesion() -> None:
    maps = torch.zeros(2, 1, 200, 200)
    maps[0, 0, 10, 10] = 1.0
    maps[1, 0, :8, :5] = 0.5
    lone, lesion = film_scores(maps)[:, 0].tolist()
    assert lone == pytest.approx(1 / 40)
    assert lesion == pytest.approx(0.5)
