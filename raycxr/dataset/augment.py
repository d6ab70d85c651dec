"""Random changes of training films and their masks: the only file that knows albumentations.

Every film's changes follow from (seed, epoch, film id) alone, never from the worker or the order, so that one worker
and eight see the same pictures and a resumed run goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.config.sections import AugmentSection

# albumentations asks the internet for a newer version of itself when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

# Smoothness of elastic deformation, as a share of the width: bends ribs, does not tear outlines.
ELASTIC_SIGMA = 0.05


class Augmentation:
    """The random changes of one configuration.

    Parameters
    ----------
    section : AugmentSection
        Strengths and probabilities.
    seed : int
        Seed of the run.
    width : int
        Width of the films in pixels, to which elastic strength refers.
    """

    def __init__(self, section: AugmentSection, seed: int, width: int) -> None:
        self.section, self.seed, self.width = section, seed, width
        self.compose: Any = None

    def __call__(
        self, image: NDArray[Any], field: NDArray[np.uint8], epoch: int, film_id: str
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Change a film (H, W) uint8 or float32 in 0..1, and its bit field (H, W) uint8, alike."""
        if self.compose is None:
            # Here, so that it is the loader processes that import albumentations, while the network is being built.
            self.compose = _compose(self.section, self.width)
        self.compose.set_random_seed(augmentation_seed(self.seed, epoch, film_id))
        changed = self.compose(image=image, mask=field)
        return changed["image"], changed["mask"]


def augmentation_seed(seed: int, epoch: int, film_id: str) -> int:
    """Seed of one film in one epoch, 0..2^32 - 1: a hash that is the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{film_id}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _compose(section: AugmentSection, width: int) -> Any:
    import albumentations
    import cv2

    # Loader processes are the parallelism; OpenCV's threads would only fight over the same cores.
    cv2.setNumThreads(0)
    return albumentations.Compose(_transforms(section, width))


def _transforms(section: AugmentSection, width: int) -> list[Any]:
    import albumentations as A

    transforms: list[Any] = []
    if section.horizontal_flip:
        transforms.append(A.HorizontalFlip(p=section.horizontal_flip))
    if section.vertical_flip:
        transforms.append(A.VerticalFlip(p=section.vertical_flip))
    if section.affine_probability and (
        section.rotate_degrees or section.scale or section.shift or section.shear_degrees
    ):
        transforms.append(
            A.Affine(
                rotate=(-section.rotate_degrees, section.rotate_degrees),
                scale=(1 - section.scale, 1 + section.scale),
                translate_percent=(-section.shift, section.shift),
                shear=(-section.shear_degrees, section.shear_degrees),
                balanced_scale=True,
                p=section.affine_probability,
            )
        )
    if section.elastic and section.elastic_probability:
        sigma = ELASTIC_SIGMA * width
        # Uniform noise in -1..1 has variance 1/3; a Gaussian filter leaves a share 1/(4 pi sigma^2) of it.
        smoothed_deviation = math.sqrt(1 / 3) / (2 * math.sqrt(math.pi) * sigma)
        strength = section.elastic / 100 * width / smoothed_deviation
        transforms.append(
            A.ElasticTransform(alpha=strength, sigma=sigma, noise_distribution="uniform", p=section.elastic_probability)
        )
    if section.exposure_probability and (section.brightness or section.contrast):
        transforms.append(
            A.RandomBrightnessContrast(section.brightness, section.contrast, p=section.exposure_probability)
        )
    if section.exposure_probability and section.gamma:
        limits = (100 * (1 - section.gamma), 100 * (1 + section.gamma))
        transforms.append(A.RandomGamma(limits, p=section.exposure_probability))
    if section.noise and section.noise_probability:
        transforms.append(A.GaussNoise(std_range=(0.0, section.noise), p=section.noise_probability))
    return transforms
