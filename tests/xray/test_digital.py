from __future__ import annotations

import numpy as np
import pytest

from raycxr.xray.anatomy import draw_anatomy
from raycxr.xray.digital import Radiograph, add_noise, draw_radiograph
from raycxr.xray.markings import add_markings
from raycxr.xray.phantom import structure_masks
from raycxr.xray.tuberculosis import draw_tuberculosis


def radiograph(seed: int, size: int = 256) -> Radiograph:
    rng = np.random.default_rng(seed)
    return draw_radiograph(rng, draw_anatomy(rng), size)


@pytest.mark.parametrize("seed", range(6))
def test_a_radiograph_shows_dark_lungs_and_a_bright_heart(seed: int) -> None:
    drawn = radiograph(seed)
    assert drawn.image.shape == (256, 256)
    assert drawn.image.dtype == np.float32
    assert -0.15 < drawn.image.min() < drawn.image.max() < 1.15
    masks = structure_masks(drawn.anatomy, 256)
    for lung in ("left lung", "right lung"):
        assert drawn.image[masks[lung]].mean() + 0.2 < drawn.image[masks["heart"]].mean()


def test_the_same_seed_draws_the_same_radiograph() -> None:
    np.testing.assert_array_equal(radiograph(3).image, radiograph(3).image)
    assert np.abs(radiograph(3).image - radiograph(4).image).mean() > 0.02


def test_a_patient_is_moved_and_made_smaller_as_a_whole() -> None:
    anatomy = draw_anatomy(np.random.default_rng(0))
    moved = anatomy.moved((0.5, 1.0), (0.1, 0.0))
    masks, others = structure_masks(anatomy, 256), structure_masks(moved, 256)
    for name, mask in masks.items():
        assert others[name].sum() == pytest.approx(mask.sum() / 2, rel=0.15)
        rows, columns = (np.nonzero(each)[1].mean() / 256 for each in (mask, others[name]))
        assert columns == pytest.approx((rows - 0.5) / 2 + 0.6, abs=0.01)
    assert moved.scale == pytest.approx(anatomy.scale * 0.5**0.5)


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (2600, 40)])
def test_noise_differs_from_film_to_film(shape: tuple[int, int]) -> None:
    films = [np.full(shape, 0.5, np.float32) for _ in range(2)]
    for seed, film in enumerate(films):
        add_noise(np.random.default_rng(seed), film)
        assert 0.003 < film.std() < 0.02
        assert abs(film.mean() - 0.5) < 0.002
    assert abs(np.corrcoef(films[0].ravel(), films[1].ravel())[0, 1]) < 0.1


def test_bright_parts_are_noisier() -> None:
    film = np.full((200, 200), 0.1, np.float32)
    film[:, 100:] = 0.9
    add_noise(np.random.default_rng(1), film)
    assert film[:, 100:].std() > 1.5 * film[:, :100].std()


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (200, 300)])
def test_markings_touch_a_small_part_of_a_film(shape: tuple[int, int]) -> None:
    marked = []
    for seed in range(40):
        film = np.full(shape, 0.5, np.float32)
        add_markings(np.random.default_rng(seed), film)
        marked.append(float((film != 0.5).mean()))
        assert film.min() >= 0
    assert max(marked) < 0.25
    assert 0.6 < np.mean(np.array(marked) > 0) < 1


def test_tuberculosis_lies_in_the_upper_part_of_the_lungs_and_is_bright() -> None:
    readings = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        anatomy = draw_anatomy(rng)
        disease = draw_tuberculosis(rng, anatomy)
        readings.add(disease.reading)
        masks = structure_masks(anatomy, disease.shadow.shape[0])
        lungs = masks["left lung"] | masks["right lung"]
        strong = disease.shadow > 0.08
        assert strong.sum() > 20
        assert (strong & lungs).sum() > 0.9 * strong.sum()
        rows = np.nonzero(lungs)[0]
        assert np.nonzero(strong)[0].mean() < rows.min() + 0.6 * np.ptp(rows)
        diseased = [side for side in ("left", "right") if (strong & masks[f"{side} lung"]).sum() > 10]
        assert "both upper lobes" in disease.reading or f"{diseased[0]} upper lobe" in disease.reading
    assert any("cavitary" in reading for reading in readings)
    assert len(readings) >= 4
