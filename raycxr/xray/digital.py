"""Digital radiographs of phantoms: what a detector and its processing make of the shadows.

Unlike the film of `raycxr.xray.phantom`, a digital radiograph is levelled: slow differences between the thick and the
thin parts of the body are weakened and fine detail is raised (Vuylsteke and Schoeters, Proc SPIE 2167, 1994), so
that ribs and vessels stand out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from raycxr.xray.anatomy import Anatomy
from raycxr.xray.canvas import COARSE, Shadow, enlarge
from raycxr.xray.shadows import bones, lungs, soft_tissue

# Nothing of a phantom is finer than this grid shows, except noise, markings and the pleural line.
_GRID = 512
# Random fields are slow to draw: films take theirs from different places of one tile.
_PLACES = 1024
_NOISE_SIDE, _PARENCHYMA_SIDE = 1024 + _PLACES, _GRID + _PLACES


@dataclass(frozen=True)
class Shadows:
    """Attenuations of one patient: `tissue` less `air` plus `bones`, each float32 of shape (side, side)."""

    tissue: Shadow
    air: Shadow
    bones: Shadow


@dataclass(frozen=True)
class Processing:
    """How a detector's software shows attenuation: weights of slow and fine parts, and the tone curve."""

    slow: float
    fine: float
    middle: float
    black: float
    white: float

    def develop(self, attenuation: Shadow, slow_part: Shadow) -> Shadow:
        """Return grey levels, about 0 to 1, of an attenuation with the slow part given; both of one shape."""
        # The exponent is -(slow * (slow_part - middle) + fine * (attenuation - slow_part)).
        exponent = cv2.addWeighted(attenuation, -self.fine, slow_part, self.fine - self.slow, self.slow * self.middle)
        grey = np.asarray(cv2.exp(exponent), np.float32)
        grey += 1
        np.divide(np.float32(self.white - self.black), grey, out=grey)
        grey += np.float32(self.black)
        return grey


@dataclass(frozen=True)
class Radiograph:
    """A radiograph without noise, and what it was made of.

    Parameters
    ----------
    image : float32 array (size, size)
        Grey levels, about 0 (black) to 1 (white); bone bright and lungs dark.
    slow_part : float32 array (side, side)
        The slow part of the attenuation, on the grid of the shadows.
    """

    image: Shadow
    anatomy: Anatomy
    shadows: Shadows
    slow_part: Shadow
    processing: Processing


def draw_radiograph(rng: np.random.Generator, anatomy: Anatomy, size: int, opacity: Shadow | None = None) -> Radiograph:
    """Draw a radiograph of a patient.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides about soft tissue, vessels and exposure.
    anatomy : Anatomy
        The patient.
    size : int
        Side of the image in pixels.
    opacity : float32 array (side, side), optional
        Attenuation of something that does not belong there.
    """
    grid = min(size, _GRID)
    tissue = soft_tissue(rng, anatomy, grid)
    if opacity is not None:
        tissue += enlarge(opacity, grid)
    air = lungs(rng, anatomy, grid)
    air *= 1 + _cut(_parenchyma(), rng, (grid, grid)) * np.float32(rng.uniform(0.02, 0.045))
    # Films of higher energy than those of old show less bone, and processing raises it again.
    shadows = Shadows(tissue, air, bones(anatomy, grid) * np.float32(rng.uniform(0.9, 1.5)))
    processing = Processing(
        slow=rng.uniform(1.9, 3.0),
        fine=rng.uniform(4.0, 6.0),
        middle=rng.uniform(0.50, 0.72),
        black=rng.uniform(-0.04, 0.06),
        white=rng.uniform(0.92, 1.04),
    )
    attenuation = tissue - air + shadows.bones
    slow = _slow_part(attenuation)
    image = cv2.resize(processing.develop(attenuation, slow), (size, size), interpolation=cv2.INTER_CUBIC)
    return Radiograph(np.asarray(image, np.float32), anatomy, shadows, slow, processing)


def add_noise(rng: np.random.Generator, image: Shadow) -> None:
    """Add quantum noise to an image of shape (H, W), stronger where few rays arrived: in the bright parts."""
    noise = _cut(_noise(), rng, (image.shape[0], image.shape[1]))
    strength = rng.uniform(0.005, 0.014)
    image += noise * (np.float32(strength) * image + np.float32(0.4 * strength))


def _slow_part(attenuation: Shadow) -> Shadow:
    """Return what changes over a tenth of the picture."""
    coarse = cv2.resize(attenuation, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    return enlarge(np.asarray(cv2.GaussianBlur(coarse, (0, 0), 0.07 * COARSE), np.float32), attenuation.shape[0])


def _cut(tile: Shadow, rng: np.random.Generator, shape: tuple[int, int]) -> Shadow:
    """Return a random part of a tile, which begins again where it ends."""
    top, left = rng.integers(_PLACES, size=2).tolist()
    bottom, right = top + shape[0], left + shape[1]
    below, beside = (max(0, end - tile.shape[0]) for end in (bottom, right))
    if below or beside:
        tile = np.asarray(cv2.copyMakeBorder(tile, 0, below, 0, beside, cv2.BORDER_WRAP), np.float32)
    return tile[top:bottom, left:right]


@lru_cache(maxsize=1)
def _noise() -> Shadow:
    noise = np.random.default_rng(0).standard_normal((_NOISE_SIDE, _NOISE_SIDE), np.float32)
    # Neighbouring pixels of a detector share a part of their light; 1.9 makes up for what that takes away.
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.6), np.float32) * np.float32(1.9)


@lru_cache(maxsize=1)
def _parenchyma() -> Shadow:
    """Return the net of small vessels and airways as threads without air, deviation 1."""
    rng = np.random.default_rng(1)
    total = np.zeros((_PARENCHYMA_SIDE, _PARENCHYMA_SIDE), np.float32)
    for sigma, thinness in ((1.3, 3.0), (3.0, 4.0)):
        field = cv2.GaussianBlur(rng.standard_normal(total.shape, np.float32), (0, 0), sigma)
        # Where a random field crosses zero there are lines: those are the threads.
        total += 1 / (1 + (field * np.float32(thinness / field.std())) ** 2)
    return np.asarray((total.mean() - total) / total.std(), np.float32)
