from __future__ import annotations

import numpy as np
import pytest

from raycxr.xray.anatomy import STRUCTURES
from raycxr.xray.phantom import Phantom, draw_phantom


def phantom(seed: int, size: int = 128, film_size: int | None = None, with_nodule: bool = False) -> Phantom:
    return draw_phantom(np.random.default_rng(seed), size, film_size, with_nodule)


@pytest.mark.parametrize("seed", range(8))
def test_a_phantom_looks_like_a_chest_film(seed: int) -> None:
    drawn = phantom(seed)
    assert drawn.image.shape == (128, 128)
    assert drawn.image.dtype == np.float32
    assert drawn.image.min() >= 0
    assert drawn.image.max() <= 1
    assert set(drawn.masks) == set(STRUCTURES)
    mean = {name: float(drawn.image[mask].mean()) for name, mask in drawn.masks.items()}
    share = {name: float(mask.mean()) for name, mask in drawn.masks.items()}
    column = {name: float(np.nonzero(mask)[1].mean()) for name, mask in drawn.masks.items()}
    for lung in ("left lung", "right lung"):
        assert mean[lung] + 0.2 < mean["heart"], "lungs are dark, the heart is bright"
        assert 0.06 < share[lung] < 0.25
    assert 0.04 < share["heart"] < 0.16
    for side in ("left", "right"):
        clavicle, lung_mask = drawn.masks[f"{side} clavicle"], drawn.masks[f"{side} lung"]
        assert 0.004 < clavicle.mean() < 0.02
        assert (clavicle & lung_mask).sum() > 0.4 * clavicle.sum(), "clavicles lie over the lungs"
    assert column["right lung"] < 60 < 68 < column["left lung"], "the patient's right is on the left"
    assert column["heart"] > np.mean([column["left lung"], column["right lung"]]), "the heart lies to the left"
    assert not (drawn.masks["heart"] & drawn.masks["left lung"]).any()


def test_the_right_hemidiaphragm_is_higher_on_average() -> None:
    lowest = [
        [np.nonzero(drawn.masks[name])[0].max() for name in ("right lung", "left lung")]
        for drawn in map(phantom, range(12))
    ]
    right, left = np.mean(lowest, axis=0)
    assert right < left


def test_the_same_seed_draws_the_same_film_and_another_seed_another_patient() -> None:
    first, again, other = phantom(3), phantom(3), phantom(4)
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.masks["heart"] == again.masks["heart"]).all()
    assert (first.masks["heart"] != other.masks["heart"]).mean() > 0.005


def test_films_larger_than_their_masks_show_the_same_patient() -> None:
    small, large = phantom(5, 128), phantom(5, 128, film_size=512)
    assert large.image.shape == (512, 512)
    assert large.masks["heart"].shape == (128, 128)
    reduced = large.image.reshape(128, 4, 128, 4).mean(axis=(1, 3))
    assert np.corrcoef(reduced.ravel(), small.image.ravel())[0, 1] > 0.95


def test_a_nodule_is_a_bright_spot_inside_a_lung() -> None:
    plain, marked = phantom(6), phantom(6, with_nodule=True)
    np.testing.assert_array_equal(plain.masks["left lung"], marked.masks["left lung"])
    brighter = marked.image - plain.image > 0.03
    lungs = plain.masks["left lung"] | plain.masks["right lung"]
    assert 5 < (brighter & lungs).sum() < 0.2 * lungs.sum()


@pytest.mark.parametrize("size", [16, 64, 100, 256])
def test_any_size_can_be_drawn(size: int) -> None:
    drawn = phantom(1, size)
    assert drawn.image.shape == (size, size)
    assert all(mask.any() for mask in drawn.masks.values())
