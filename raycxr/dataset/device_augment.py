"""Random changes of whole batches with torch, where the network computes.

The same section of the configuration as `raycxr.dataset.transforms`, with the same meaning, order, strengths and
probabilities; but the numbers are drawn otherwise, so a run sees other pictures. A film's changes follow from (seed,
epoch, film id, turn) alone, never from the batch that it is in. All geometry is one interpolation of the film, where
the other form has up to two, and bit fields take their nearest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from raycxr.config.augment import AugmentSection
from raycxr.dataset.augment import augmentation_seed
from raycxr.dataset.films import Batch
from raycxr.errors import ConfigurationError

# As in `raycxr.dataset.transforms`: smoothness of elastic distortion as a share of the width, and in cells of its grid.
ELASTIC_SIGMA, CELLS_PER_SIGMA = 0.05, 2
CELLS = round(CELLS_PER_SIGMA / ELASTIC_SIGMA)
# What a Gaussian kernel leaves out lies beyond so many deviations.
BLUR_REACH = 3.5


@dataclass
class Changes:
    """What happens to one film.

    Attributes
    ----------
    matrix : float64 array (2, 3)
        From a pixel (x, y, 1) of the result to where it lies in the film.
    displacement : float32 array (CELLS, CELLS, 2) or None
        Elastic distortion in pixels, x and y, on a coarse grid.
    contrast, brightness, gamma : float
        Grey levels 0..1 are multiplied, then shifted, then raised to a power.
    blur, noise : float
        Deviation in pixels, and in grey levels 0..1.
    noise_seed : int
    """

    matrix: NDArray[np.float64]
    displacement: NDArray[np.float32] | None = None
    contrast: float = 1.0
    brightness: float = 0.0
    gamma: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0

    @property
    def moves(self) -> bool:
        """Whether pixels change their places."""
        return self.displacement is not None or not np.array_equal(self.matrix, np.eye(3)[:2])


def check_device_augmentation(section: AugmentSection) -> None:
    """Refuse what only the loading processes can do; a `ConfigurationError` names it."""
    for name, probability in (("grid_distortion", "grid_probability"), ("optical_distortion", "optical_probability")):
        if getattr(section, name) and getattr(section, probability):
            raise ConfigurationError(
                f"augment.{name} cannot be done with augment.where = 'device'",
                f"set augment.{name}=0 or augment.where=loader",
            )


class DeviceAugmentation:
    """The random changes of one configuration, for batches on any device.

    Parameters
    ----------
    section : AugmentSection
        Checked by `check_device_augmentation`.
    seed : int
        Seed of the run.
    """

    def __init__(self, section: AugmentSection, seed: int) -> None:
        self.section, self.seed = section, seed

    def __call__(self, batch: Batch) -> Batch:
        """Change a batch with keys; its films come back as float32 in 0..1."""
        height, width = batch.images.shape[1:]
        seeds = (
            augmentation_seed(self.seed, key.epoch, film, key.turn)
            for key, film in zip(batch.keys, batch.ids, strict=True)
        )
        changes = [draw_changes(self.section, np.random.default_rng(seed), height, width) for seed in seeds]
        images, fields = apply_changes(batch.images, batch.fields, changes)
        return Batch(images, fields, batch.ids, batch.annotated, batch.keys)


def draw_changes(section: AugmentSection, random: np.random.Generator, height: int, width: int) -> Changes:
    """Draw the changes of one film of `height` x `width` pixels."""
    matrix = np.eye(3)
    if random.random() < section.vertical_flip:
        matrix = np.array([[1, 0, 0], [0, -1, height - 1], [0, 0, 1]]) @ matrix
    if random.random() < section.horizontal_flip:
        matrix = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    if random.random() < section.affine_probability:
        matrix = matrix @ np.linalg.inv(_draw_affine(section, random, height, width))
    changes = Changes(matrix[:2])
    if section.elastic and random.random() < section.elastic_probability:
        changes.displacement = _draw_displacement(random, section.elastic / 100 * width)
    _draw_exposure(section, random, changes)
    if section.blur and random.random() < section.blur_probability:
        changes.blur = random.uniform(0, section.blur / 100 * width)
    if section.noise and random.random() < section.noise_probability:
        changes.noise = random.uniform(0, section.noise)
        changes.noise_seed = int(random.integers(2**63))
    return changes


def apply_changes(images: Tensor, fields: Tensor, changes: list[Changes]) -> tuple[Tensor, Tensor]:
    """Change films (B, H, W), uint8 or float32 in 0..1, and their bit fields (B, H, W) uint8.

    Returns
    -------
    tuple
        Films (B, H, W) float32 in 0..1, and bit fields (B, H, W) uint8.
    """
    films = images.float() / 255 if images.dtype == torch.uint8 else images
    moving = [number for number, change in enumerate(changes) if change.moves]
    if moving:
        # The others are left as they are to the last bit, whatever they share a batch with.
        films, fields = films.clone(), fields.clone()
        films[moving], fields[moving] = _warp(films[moving], fields[moving], [changes[number] for number in moving])
    levels = torch.tensor([(c.contrast, c.brightness, c.gamma) for c in changes], dtype=torch.float32)
    contrast, brightness, gamma = levels.to(films.device).T[..., None, None]
    films = (films * contrast + brightness).clamp_(0, 1) ** gamma
    for number, change in enumerate(changes):
        if change.blur > 0:
            films[number] = _blur(films[number], change.blur)
        if change.noise > 0:
            source = torch.Generator(films.device).manual_seed(change.noise_seed)
            noise = torch.randn(films[number].shape, generator=source, device=films.device)
            films[number] = (films[number] + change.noise * noise).clamp_(0, 1)
    return films, fields


def affine_matrix(
    height: int,
    width: int,
    rotate: float,
    scale: tuple[float, float],
    shift: tuple[float, float],
    shear: tuple[float, float],
) -> NDArray[np.float64]:
    """Matrix (3, 3) from a pixel (x, y, 1) of a film to where it goes: scaled, turned, sheared, shifted.

    Parameters
    ----------
    rotate : float
        Degrees, to the left.
    scale, shift, shear : tuple of float
        Of x and y; shifts in pixels, shears in degrees.
    """
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    angle, shears = np.deg2rad(rotate), np.tan(np.deg2rad(shear))
    turned = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    sheared = np.array([[1, shears[0], 0], [shears[1], 1, 0], [0, 0, 1]])
    shifted = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    matrix: NDArray[np.float64] = centre @ shifted @ sheared @ turned @ np.diag([*scale, 1]) @ np.linalg.inv(centre)
    return matrix


def _draw_affine(section: AugmentSection, random: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    def around(strength: float) -> tuple[float, float]:
        return random.uniform(-strength, strength), random.uniform(-strength, strength)

    shift = around(section.shift)
    scale = around(section.scale)
    return affine_matrix(
        height,
        width,
        random.uniform(-section.rotate_degrees, section.rotate_degrees),
        (1 + scale[0], 1 + scale[1]),
        # Whole pixels, as in the other form.
        (int(shift[0] * width), int(shift[1] * height)),
        around(section.shear_degrees),
    )


def _draw_displacement(random: np.random.Generator, deviation: float) -> NDArray[np.float32]:
    noise = random.standard_normal((CELLS, CELLS, 2), dtype=np.float32)
    smooth: Any = cv2.GaussianBlur(noise, (0, 0), CELLS_PER_SIGMA)
    # A Gaussian filter leaves a share 1 / (4 pi sigma^2) of the variance of noise.
    displacement: NDArray[np.float32] = smooth * np.float32(deviation * 2 * np.sqrt(np.pi) * CELLS_PER_SIGMA)
    return displacement


def _draw_exposure(section: AugmentSection, random: np.random.Generator, changes: Changes) -> None:
    brightness = random.uniform(-section.brightness, section.brightness)
    contrast = 1 + random.uniform(-section.contrast, section.contrast)
    gamma = 1 + random.uniform(-section.gamma, section.gamma)
    linear, power = random.random(2) < section.exposure_probability
    if section.exposure_one_of:
        strengths = {"brightness": section.brightness, "contrast": section.contrast, "gamma": section.gamma}
        used = [name for name, strength in strengths.items() if strength]
        chosen = used[random.integers(len(used))] if used and linear else None
        changes.brightness = brightness if chosen == "brightness" else 0.0
        changes.contrast = contrast if chosen == "contrast" else 1.0
        changes.gamma = gamma if chosen == "gamma" else 1.0
        return
    if linear:
        changes.brightness, changes.contrast = brightness, contrast
    if power:
        changes.gamma = gamma


def _warp(films: Tensor, fields: Tensor, changes: list[Changes]) -> tuple[Tensor, Tensor]:
    """Films and fields, each pixel from where its film's changes take it."""
    count, height, width = films.shape
    device = films.device
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    x, y = x.expand(count, -1, -1), y.expand(count, -1, -1)
    if any(change.displacement is not None for change in changes):
        still = np.zeros((CELLS, CELLS, 2), np.float32)
        coarse = torch.from_numpy(np.stack([still if c.displacement is None else c.displacement for c in changes]))
        moved = functional.interpolate(coarse.to(device).permute(0, 3, 1, 2), (height, width), mode="bicubic")
        x, y = x + moved[:, 0], y + moved[:, 1]
    # Distortion comes last: what it takes from outside of the frame is black, whatever would have been turned there.
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    # Not as a product of matrices, which GPUs may compute in TF32: its 10 bits are half a pixel of 512.
    m = torch.from_numpy(np.stack([change.matrix for change in changes])).to(device, torch.float32)[..., None, None]
    source_x = m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]
    source_y = m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]
    # grid_sample counts from -1 at the left edge of the first pixel to 1 at the right edge of the last one.
    grid = torch.stack([(2 * source_x + 1) / width - 1, (2 * source_y + 1) / height - 1], dim=-1)
    grid[outside] = 2.0
    sample = functional.grid_sample
    films = sample(films[:, None], grid, mode="bilinear", align_corners=False)[:, 0]
    nearest = sample(fields[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0]
    return films, nearest.to(torch.uint8)


def _blur(film: Tensor, deviation: float) -> Tensor:
    """Gaussian blur of a film (H, W), mirrored at its edges; sums of shifted films, which are float32 on GPUs too."""
    reach = min(int(deviation * BLUR_REACH), min(film.shape) - 1)
    if reach == 0:
        return film
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        padding = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
        padded = functional.pad(film[None, None], padding, mode="reflect")[0, 0]
        size = film.shape[axis]
        film = sum((float(w) * padded.narrow(axis, at, size) for at, w in enumerate(weights)), torch.zeros_like(film))
    return film
