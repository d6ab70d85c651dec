"""The transforms of an augmentation: the only file that knows albumentations.

Films are interpolated linearly and bit fields take their nearest neighbour, so that no bit appears that was not there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from raycxr.config.augment import AugmentSection

# Smoothness of elastic distortion, as a share of the width: bends ribs, does not tear outlines.
ELASTIC_SIGMA = 0.05
# The same in cells of the grid that the displacement is drawn on.
CELLS_PER_SIGMA = 2
GRID_CELLS = 5


@contextmanager
def _without_torch() -> Iterator[None]:
    """Keep albumentations from importing torch, which it does wherever it finds it, and which `inspect` has no use for.

    Where torch has been imported before, nothing is done.
    """
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules["torch"]


# albumentations asks the internet for a newer version of itself when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
with _without_torch():
    import albumentations as A


class CoarseElastic(A.ElasticTransform):  # type: ignore[misc]
    """Elastic distortion whose displacement is drawn on a coarse grid (Simard 2003, section 2).

    Noise of every pixel, smoothed by a wide Gaussian filter, is what takes the time in the library's own form: 33 ms
    for a film of 512 pixels, against 3.5 ms here for the same displacement.

    Parameters
    ----------
    deviation : float
        Of the displacement in each direction, as a share of the width.
    p : float
        Probability.
    """

    def __init__(self, deviation: float, p: float) -> None:
        super().__init__(p=p)
        self.deviation = deviation

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Where each pixel is taken from: `map_x` and `map_y`, (H, W) float32."""
        height, width = params["shape"][:2]
        side = round(CELLS_PER_SIGMA / ELASTIC_SIGMA)
        noise = self.random_generator.standard_normal((side, side, 2), dtype=np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), CELLS_PER_SIGMA)
        # A Gaussian filter leaves a share 1 / (4 pi sigma^2) of the variance of noise.
        smooth *= self.deviation * width * 2 * np.sqrt(np.pi) * CELLS_PER_SIGMA
        displacement = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_CUBIC)
        return {
            "map_x": displacement[..., 0] + np.arange(width, dtype=np.float32),
            "map_y": displacement[..., 1] + np.arange(height, dtype=np.float32)[:, None],
        }


def compose(section: AugmentSection, width: int) -> Any:
    """Build all changes of a configuration.

    Parameters
    ----------
    width : int
        Width of the films in pixels, to which the strengths refer.

    Returns
    -------
    albumentations.Compose
        Takes `image` and `mask`.
    """
    # Loader processes are the parallelism; OpenCV's threads would only fight over the same cores.
    cv2.setNumThreads(0)
    return A.Compose(
        [
            *_flips(section),
            *_affine(section),
            *_one_of(_distortions(section)),
            *_exposure(section),
            *_blur_and_noise(section, width),
        ]
    )


def _flips(section: AugmentSection) -> Iterator[Any]:
    if section.horizontal_flip:
        yield A.HorizontalFlip(p=section.horizontal_flip)
    if section.vertical_flip:
        yield A.VerticalFlip(p=section.vertical_flip)


def _affine(section: AugmentSection) -> Iterator[Any]:
    changes = section.rotate_degrees or section.scale or section.shift or section.shear_degrees
    if section.affine_probability and changes:
        yield A.Affine(
            rotate=(-section.rotate_degrees, section.rotate_degrees),
            scale=(1 - section.scale, 1 + section.scale),
            translate_percent=(-section.shift, section.shift),
            shear=(-section.shear_degrees, section.shear_degrees),
            balanced_scale=True,
            p=section.affine_probability,
        )


def _distortions(section: AugmentSection) -> list[Any]:
    found = []
    if section.elastic and section.elastic_probability:
        found.append(CoarseElastic(section.elastic / 100, section.elastic_probability))
    if section.grid_distortion and section.grid_probability:
        limits = (-section.grid_distortion, section.grid_distortion)
        found.append(A.GridDistortion(GRID_CELLS, limits, p=section.grid_probability))
    if section.optical_distortion and section.optical_probability:
        limits = (-section.optical_distortion, section.optical_distortion)
        found.append(A.OpticalDistortion(limits, p=section.optical_probability))
    return found


def _exposure(section: AugmentSection) -> list[Any]:
    probability, brightness, contrast = section.exposure_probability, section.brightness, section.contrast
    gamma = (100 * (1 - section.gamma), 100 * (1 + section.gamma))
    if not probability:
        return []
    if not section.exposure_one_of:
        both = [A.RandomBrightnessContrast(brightness, contrast, p=probability)] if brightness or contrast else []
        return both + ([A.RandomGamma(gamma, p=probability)] if section.gamma else [])
    choices: list[tuple[float, Callable[[float], Any]]] = [
        (brightness, lambda p: A.RandomBrightnessContrast(brightness, 0, p=p)),
        (contrast, lambda p: A.RandomBrightnessContrast(0, contrast, p=p)),
        (section.gamma, lambda p: A.RandomGamma(gamma, p=p)),
    ]
    used = [make for strength, make in choices if strength]
    return _one_of([make(probability / len(used)) for make in used])


def _blur_and_noise(section: AugmentSection, width: int) -> Iterator[Any]:
    if section.blur and section.blur_probability:
        yield A.GaussianBlur(0, (0, section.blur / 100 * width), p=section.blur_probability)
    if section.noise and section.noise_probability:
        yield A.GaussNoise(std_range=(0.0, section.noise), p=section.noise_probability)


def _one_of(transforms: Sequence[Any]) -> list[Any]:
    """At most one of some transforms, each with its own probability."""
    if len(transforms) < 2:
        return list(transforms)
    return [A.OneOf(transforms, p=min(1.0, sum(transform.p for transform in transforms)))]
