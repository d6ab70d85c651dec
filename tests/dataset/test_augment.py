"""Augmentation: repeatable by film and epoch, alike for film and mask, and off where switched off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from raycxr.classification.films import ReducedFilms
from raycxr.config.augment import AugmentSection
from raycxr.config.augment_presets import PRESETS
from raycxr.config.load import load_config
from raycxr.dataset.augment import Augmentation, augmentation_seed
from raycxr.dataset.films import Films, Key, open_splits, shard_paths

OFF = AugmentSection(preset="none")
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


def test_every_turn_of_a_film_in_an_epoch_is_changed_anew(phantom_config: Path) -> None:
    splits = open_splits(load_config(phantom_config))
    rows, paths, augment = splits.rows["train"], shard_paths(splits, None), Augmentation(STRONG, 0, 32)
    for films in (Films(rows, paths, augment), ReducedFilms(rows, paths, augment, None, None)):
        first, again, later, other = (films[key][1] for key in ((1, 2), Key(1, 2, 0), Key(1, 2, 1), Key(1, 2, 2)))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, later)
        assert not np.array_equal(later, other)
    assert len({augmentation_seed(0, epoch, "a", turn) for epoch in range(40) for turn in range(40)}) == 1600


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


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_keeps_bits_kinds_and_ranges(preset: str) -> None:
    image, field = film()
    augment = Augmentation(AugmentSection.model_validate({"preset": preset}), 0, 64)
    changed = 0
    for epoch in range(30):
        for source, highest in ((image, 255), (image.astype(np.float32) / 255, 1)):
            seen, mask = augment(source, field, epoch, "a")
            assert (seen.dtype, seen.shape) == (source.dtype, source.shape)
            assert 0 <= seen.min() <= seen.max() <= highest
            assert mask.dtype == np.uint8
            assert set(np.unique(mask)) <= {0, 5}
            changed += not np.array_equal(seen, source)
    assert changed == 0 if preset == "none" else changed > 20


@pytest.mark.parametrize("distortion", ["elastic", "grid", "optical"])
def test_masks_follow_every_distortion(distortion: str) -> None:
    key = "elastic" if distortion == "elastic" else f"{distortion}_distortion"
    section = OFF.model_copy(update={key: 0.4 if key != "elastic" else 3.0, f"{distortion}_probability": 1.0})
    _, field = film()
    moved = 0.0
    for epoch in range(10):
        image, changed = Augmentation(section, 0, 64)((field > 0).astype(np.uint8) * 255, field, epoch, "a")
        assert np.mean((image > 127) != (changed > 0)) < 0.03
        moved = max(moved, float(np.mean((changed > 0) != (field > 0))))
    assert moved > 0.01


def test_changes_are_drawn_independently() -> None:
    """Each flip also comes alone, and a film that is turned to the left is no darker than one that is turned right."""
    image, field = film()
    flips = Augmentation(OFF.model_copy(update={"horizontal_flip": 0.5, "vertical_flip": 0.5}), 0, 64)
    seen = {flips(image, field, epoch, "a")[0].tobytes() for epoch in range(40)}
    assert seen == {flipped.tobytes() for flipped in (image, image[:, ::-1], image[::-1], image[::-1, ::-1])}
    ramp = np.tile(np.linspace(0.3, 0.7, 64, dtype=np.float32)[:, None], (1, 64))
    both = OFF.model_copy(update={"rotate_degrees": 10.0, "brightness": 0.2, "exposure_probability": 1.0})
    augment = Augmentation(both, 0, 64)
    centres = [augment(ramp, field, epoch, "a")[0][16:48, 16:48] for epoch in range(300)]
    turned = [float(centre[:, -1].mean() - centre[:, 0].mean()) for centre in centres]
    assert abs(np.corrcoef(turned, [float(centre.mean()) for centre in centres])[0, 1]) < 0.2


@pytest.mark.parametrize("preset", PRESETS)
def test_a_film_is_changed_alike_whether_or_not_it_shows_anything(preset: str) -> None:
    image, field = film()
    augment = Augmentation(AugmentSection.model_validate({"preset": preset}), 0, 64)
    for epoch in range(20):
        empty = augment(image, np.zeros_like(field), epoch, "a")
        assert np.array_equal(empty[0], augment(image, field, epoch, "a")[0])
        assert not empty[1].any()


def test_one_of_the_exposures_at_a_time() -> None:
    grey = np.full((64, 64), 100, np.uint8)
    grey[0, 0] = 0  # brightness moves black, contrast and gamma do not brighten it
    every = {"brightness": 0.2, "gamma": 0.3, "exposure_one_of": True, "exposure_probability": 0.5}
    augment = Augmentation(OFF.model_copy(update=every), 0, 64)
    results = [augment(grey, np.zeros_like(grey), epoch, "a")[0] for epoch in range(400)]
    kept = np.mean([np.array_equal(result, grey) for result in results])
    # Brightness moves all pixels by the same number of grey levels; a negative one stops at black.
    brighter = np.mean([result[0, 0] > 0 for result in results])
    assert 0.4 < kept < 0.6
    assert 0.07 < brighter < 0.18
    assert all(abs(int(result[1, 1]) - 100 - int(result[0, 0])) <= 1 for result in results if result[0, 0])


def test_at_most_one_distortion_and_each_as_often_as_asked() -> None:
    from raycxr.dataset.transforms import compose

    chosen = compose(AugmentSection(preset="siim"), 64).transforms
    distortions = next(transform for transform in chosen if len(getattr(transform, "transforms", ())) == 3)
    assert distortions.p == pytest.approx(0.3)
    assert distortions.transforms_ps == pytest.approx([1 / 3] * 3)
