"""Augmentation: repeatable by film and epoch, alike for film and mask, and off where switched off."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from raycxr.config.sections import AugmentSection
from raycxr.dataset.augment import Augmentation, augmentation_seed

OFF = AugmentSection(rotate_degrees=0, scale=0, shift=0, brightness=0, contrast=0, gamma=0)
STRONG = AugmentSection(rotate_degrees=20, elastic=2.0, elastic_probability=1.0, noise=0.1, noise_probability=1.0)


def film() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rows, columns = np.mgrid[:64, :64]
    image = (rows * 2 + columns).astype(np.uint8)
    field = np.where((rows - 32) ** 2 + (columns - 24) ** 2 < 200, 5, 0).astype(np.uint8)
    return image, field


def test_the_same_film_and_epoch_repeat_in_any_order() -> None:
    augment = Augmentation(STRONG, 0, 64)
    first = augment(*film(), 3, "JPCLN001")
    augment(*film(), 3, "JPCLN002")
    again = Augmentation(STRONG, 0, 64)(*film(), 3, "JPCLN001")
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


@pytest.mark.parametrize(("seed", "epoch", "name"), [(1, 3, "a"), (0, 4, "a"), (0, 3, "b")])
def test_seed_epoch_and_film_each_matter(seed: int, epoch: int, name: str) -> None:
    assert augmentation_seed(seed, epoch, name) != augmentation_seed(0, 3, "a")
    before = Augmentation(STRONG, 0, 64)(*film(), 3, "a")[0]
    assert not np.array_equal(before, Augmentation(STRONG, seed, 64)(*film(), epoch, name)[0])


def test_masks_follow_the_film_and_keep_their_bits() -> None:
    bright = AugmentSection(rotate_degrees=15, brightness=0, contrast=0, gamma=0, elastic=1.0, elastic_probability=1.0)
    _, field = film()
    image, changed = Augmentation(bright, 0, 64)((field > 0).astype(np.uint8) * 255, field, 1, "a")
    assert set(np.unique(changed)) == {0, 5}
    disagree = np.mean((image > 127) != (changed > 0))
    assert disagree < 0.02


def test_everything_off_changes_nothing() -> None:
    image, field = film()
    changed = Augmentation(OFF, 0, 64)(image, field, 1, "a")
    assert np.array_equal(changed[0], image)
    assert np.array_equal(changed[1], field)


def test_sixteen_bit_films_stay_floats_in_range() -> None:
    image, field = film()
    changed, _ = Augmentation(STRONG, 0, 64)(image.astype(np.float32) / 255, field, 1, "a")
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_elastic_strength_is_per_cent_of_the_width() -> None:
    """The deviation of the displacement, measured on a ramp, is about what was asked for."""
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (256, 1))
    section = OFF.model_copy(update={"elastic": 1.0, "elastic_probability": 1.0})
    augment = Augmentation(section, 0, 256)
    shifts = [
        (augment(ramp, np.zeros((256, 256), np.uint8), 1, str(n))[0] - ramp)[40:-40, 40:-40] * 255 for n in range(20)
    ]
    assert 0.7 * 2.56 < np.std(np.stack(shifts)) < 1.3 * 2.56
