"""Augmentation of whole batches: a film's changes are its own, and geometry is that of the loading processes."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raycxr.config.augment import AugmentSection
from raycxr.config.augment_presets import PRESETS
from raycxr.dataset.device_augment import (
    Changes,
    DeviceAugmentation,
    affine_matrix,
    apply_changes,
    check_device_augmentation,
    draw_changes,
)
from raycxr.dataset.films import Batch, Key
from raycxr.errors import ConfigurationError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

SIZE = 64
OFF = AugmentSection(preset="none")
EVERYTHING = AugmentSection(
    rotate_degrees=20, scale=0.2, shift=0.1, shear_degrees=5, affine_probability=0.7, brightness=0.2, contrast=0.2,
    gamma=0.2, elastic=2.0, elastic_probability=0.5, noise=0.1, blur=1.0, horizontal_flip=0.5, vertical_flip=0.5,
)  # fmt: skip


def film(number: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A smooth film with a round structure in two classes, and a square in a third."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image = (110 + 60 * np.sin(rows / 9 + number) + 60 * np.cos(columns / 7)).astype(np.uint8)
    field = np.where((rows - 30) ** 2 + (columns - 24) ** 2 < 200, 5, 0).astype(np.uint8)
    field[40:56, 36:60] |= 8
    return image, field


def batch(numbers: list[int], wide: bool = False, epoch: int = 1) -> Batch:
    images, fields = zip(*map(film, numbers), strict=True)
    tensor = torch.from_numpy(np.stack(images))
    return Batch(
        tensor.float() / 255 if wide else tensor,
        torch.from_numpy(np.stack(fields)),
        [f"film{number}" for number in numbers],
        torch.ones(len(numbers), dtype=torch.bool),
        [Key(epoch, number) for number in numbers],
    )


def grey(films: torch.Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = films.numpy() * 255
    return values


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_a_film_is_changed_alike_in_any_company(order: list[int], count: int, seed: int, wide: bool) -> None:
    together = DeviceAugmentation(EVERYTHING, seed)(batch(list(range(6)), wide))
    part = DeviceAugmentation(EVERYTHING, seed)(batch(order[:count], wide))
    for place, number in enumerate(order[:count]):
        assert torch.equal(part.images[place], together.images[number])
        assert torch.equal(part.fields[place], together.fields[number])


def test_seed_epoch_and_turn_each_matter() -> None:
    first = DeviceAugmentation(EVERYTHING, 0)(batch([0])).images
    keys = [Key(1, 0, 1)]
    again = batch([0])
    others = [
        DeviceAugmentation(EVERYTHING, 1)(batch([0])).images,
        DeviceAugmentation(EVERYTHING, 0)(batch([0], epoch=2)).images,
        DeviceAugmentation(EVERYTHING, 0)(Batch(again.images, again.fields, again.ids, again.annotated, keys)).images,
    ]
    assert not any(torch.equal(first, other) for other in others)


def test_it_leaves_the_generators_of_the_run_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    DeviceAugmentation(EVERYTHING, 0)(batch([0, 1, 2]))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_keeps_bits_and_ranges(preset: str, wide: bool) -> None:
    section = AugmentSection.model_validate({"preset": preset, "grid_distortion": 0, "optical_distortion": 0})
    changed = 0
    for epoch in range(1, 6):
        given_batch = batch([0, 1, 2], wide, epoch)
        before = given_batch.images.clone()
        result = DeviceAugmentation(section, 0)(given_batch)
        assert torch.equal(given_batch.images, before)
        assert result.images.dtype == torch.float32
        assert 0 <= float(result.images.min()) <= float(result.images.max()) <= 1
        for own, seen in zip(given_batch.fields, result.fields, strict=True):
            assert set(seen.unique().tolist()) <= {0, *own.unique().tolist()}
        plain = before if wide else before.float() / 255
        changed += not torch.equal(result.images, plain)
    assert changed == 0 if preset == "none" else changed > 3


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_flips_are_exact(flip: str) -> None:
    result = DeviceAugmentation(OFF.model_copy(update={f"{flip}_flip": 1.0}), 0)(batch([0, 1]))
    dimension = 2 if flip == "horizontal" else 1
    given_batch = batch([0, 1])
    assert torch.equal(result.fields, given_batch.fields.flip(dimension))
    assert np.abs(grey(result.images) - given_batch.images.flip(dimension).numpy()).max() < 0.01


AFFINE = [
    {"rotate": 17.0},
    {"scale": (0.8, 1.15)},
    {"shift": (5, -9)},
    {"shear": (6.0, -4.0)},
    {"rotate": -11.0, "scale": (1.1, 0.9), "shift": (-3, 4), "shear": (2.0, 3.0)},
]


@pytest.mark.parametrize("given_parameters", AFFINE)
def test_affine_changes_are_those_of_albumentations(given_parameters: dict[str, float | tuple[float, float]]) -> None:
    rotate = given_parameters.get("rotate", 0.0)
    scale, shift, shear = (given_parameters.get(name, at) for name, at in
                           (("scale", (1.0, 1.0)), ("shift", (0, 0)), ("shear", (0.0, 0.0))))  # fmt: skip
    assert isinstance(rotate, float)
    assert isinstance(scale, tuple)
    assert isinstance(shift, tuple)
    assert isinstance(shear, tuple)
    theirs = A.Affine(
        rotate=(rotate, rotate),
        scale={"x": (scale[0],) * 2, "y": (scale[1],) * 2},
        translate_px={"x": (int(shift[0]),) * 2, "y": (int(shift[1]),) * 2},
        # It draws the negative of what it is given.
        shear={"x": (-shear[0],) * 2, "y": (-shear[1],) * 2},
        p=1.0,
    )
    image, field = film()
    expected = theirs(image=image, mask=field)
    inverse = np.linalg.inv(affine_matrix(SIZE, SIZE, rotate, scale, shift, shear)).astype(np.float64)
    films, fields = apply_changes(torch.from_numpy(image)[None], torch.from_numpy(field)[None], [Changes(inverse[:2])])
    # OpenCV rounds places to 1/32 of a pixel.
    assert np.abs(grey(films[0]) - expected["image"]).mean() < 0.6
    assert np.mean(fields[0].numpy() != expected["mask"]) < 0.01


def test_elastic_distortion_is_that_of_the_loading_processes() -> None:
    import cv2

    section = OFF.model_copy(update={"elastic": 2.0, "elastic_probability": 1.0})
    changes = draw_changes(section, np.random.default_rng(5), SIZE, SIZE)
    assert changes.displacement is not None
    fine = cv2.resize(changes.displacement, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    image, field = film()
    places = (fine[..., 0] + columns, fine[..., 1] + rows)
    films, fields = apply_changes(torch.from_numpy(image)[None], torch.from_numpy(field)[None], [changes])
    expected = cv2.remap(image, *places, cv2.INTER_LINEAR)
    assert np.abs(grey(films[0]) - expected)[2:-2, 2:-2].mean() < 0.6
    assert np.mean(fields[0].numpy() != cv2.remap(field, *places, cv2.INTER_NEAREST)) < 0.02


def test_exposure_is_that_of_albumentations() -> None:
    levels, field = film()[0].astype(np.float32) / 255, film()[1]
    changes = Changes(np.eye(3)[:2], contrast=1.2, brightness=-0.1, gamma=0.8)
    films, _ = apply_changes(torch.from_numpy(levels)[None], torch.from_numpy(field)[None], [changes])
    linear = A.RandomBrightnessContrast((-0.1, -0.1), (0.2, 0.2), p=1.0)(image=levels)["image"]
    expected = A.RandomGamma((80.0, 80.0), p=1.0)(image=linear)["image"]
    assert np.abs(films[0].numpy() - expected).max() < 1e-4


def test_blur_is_that_of_albumentations() -> None:
    image, field = film()
    films, _ = apply_changes(
        torch.from_numpy(image)[None], torch.from_numpy(field)[None], [Changes(np.eye(3)[:2], blur=1.7)]
    )
    expected = A.GaussianBlur(0, (1.7, 1.7), p=1.0)(image=image)["image"]
    assert np.abs(grey(films[0]) - expected).max() < 1.0


def test_noise_has_the_deviation_asked_for() -> None:
    image = torch.full((2, SIZE, SIZE), 0.5)
    changes = [Changes(np.eye(3)[:2], noise=0.1, noise_seed=seed) for seed in (1, 2)]
    films, _ = apply_changes(image, torch.zeros(2, SIZE, SIZE, dtype=torch.uint8), changes)
    assert 0.09 < float(films.std()) < 0.11
    assert not torch.equal(films[0], films[1])


def test_changes_come_as_often_as_asked() -> None:
    section = EVERYTHING.model_copy(update={"exposure_one_of": True, "exposure_probability": 0.6})
    drawn = [draw_changes(section, np.random.default_rng(seed), SIZE, SIZE) for seed in range(2000)]
    shares = {
        "elastic": (np.mean([c.displacement is not None for c in drawn]), 0.5),
        "blur": (np.mean([c.blur > 0 for c in drawn]), 0.5),
        "noise": (np.mean([c.noise > 0 for c in drawn]), 0.5),
        "brightness": (np.mean([c.brightness != 0 for c in drawn]), 0.2),
        "contrast": (np.mean([c.contrast != 1 for c in drawn]), 0.2),
        "gamma": (np.mean([c.gamma != 1 for c in drawn]), 0.2),
        "still": (np.mean([np.array_equal(c.matrix, np.eye(3)[:2]) for c in drawn]), 0.3 * 0.25),
    }
    for name, (share, expected) in shares.items():
        assert abs(share - expected) < 0.04, name
    assert not any((c.brightness != 0) + (c.contrast != 1) + (c.gamma != 1) > 1 for c in drawn)


@pytest.mark.parametrize("name", ["grid_distortion", "optical_distortion"])
def test_what_it_cannot_do_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"augment.{name} cannot be done") as caught:
        check_device_augmentation(AugmentSection(preset="none").model_copy(update={name: 0.3}))
    assert "\n" not in str(caught.value)
    check_device_augmentation(EVERYTHING)
