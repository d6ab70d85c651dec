"""Tuberculosis of phantoms: patchy infiltrates of the upper lobes and cavities, as the disease shows itself in adults
(Nachiappan et al., RadioGraphics 37:52, 2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.xray.anatomy import SIDE_NAMES, SIDES, Anatomy, Side
from raycxr.xray.canvas import MIDDLE, Shadow, filled, stroke

_UPPER = 0.34  # the part of a lung's height in which the disease sits
_PATCHES = ((0.005, 0.5), (0.012, 0.35), (0.024, 0.15))  # radius as a share of the side, and how many of all
_CAVITY_SHARE = 0.45


@dataclass(frozen=True)
class Tuberculosis:
    """The shadow of the disease, float32 (side, side), and what a reader would say about it."""

    shadow: Shadow
    reading: str


def draw_tuberculosis(rng: np.random.Generator, anatomy: Anatomy) -> Tuberculosis:
    """Draw the disease in the right lung, the left or both."""
    chance = rng.random()
    sides = SIDES if chance < 0.25 else SIDES[:1] if chance < 0.7 else SIDES[1:]
    shadow = np.zeros((MIDDLE, MIDDLE), np.float32)
    cavity = False
    for side in sides:
        lung = filled([anatomy.lungs[side]], MIDDLE)
        lung[filled([anatomy.heart], MIDDLE) > 0] = 0
        focus = _focus(rng, lung)
        disease = _infiltrate(rng, focus, anatomy, side)
        if rng.random() < _CAVITY_SHARE:
            cavity = True
            disease += _cavity(rng, focus)
        # Nothing of it lies outside the lung.
        shadow += disease * cv2.GaussianBlur(lung, (0, 0), 1.2) * np.float32(1 / 255)
    where = "both upper lobes" if len(sides) == 2 else f"{SIDE_NAMES[sides[0]]} upper lobe"
    return Tuberculosis(shadow, f"{'cavitary ' if cavity else ''}infiltrate in {where}; active TB")


def _focus(rng: np.random.Generator, lung: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a place (x, y), as shares of the side, in the upper part of a lung and not at its edge."""
    inner = cv2.erode(lung, np.ones((3, 3), np.uint8), iterations=MIDDLE // 40)
    rows, columns = np.nonzero(inner > 127)
    upper = np.flatnonzero(rows < np.quantile(rows, _UPPER))
    chosen = rng.choice(upper)
    return (np.array([columns[chosen], rows[chosen]]) + 0.5) / MIDDLE


def _infiltrate(rng: np.random.Generator, focus: NDArray[np.float64], anatomy: Anatomy, side: Side) -> Shadow:
    """Return patches of several sizes scattered around a place, and strands from there to the hilum."""
    total = np.zeros((MIDDLE, MIDDLE), np.float32)
    patches, spread = rng.integers(25, 70), rng.uniform(0.03, 0.06)
    for radius, share in _PATCHES:
        count = max(1, round(patches * share))
        places = np.clip(rng.normal(focus, spread, (count, 2)) * MIDDLE, 0, MIDDLE - 1).astype(int)
        layer = np.zeros_like(total)
        np.add.at(layer, (places[:, 1], places[:, 0]), rng.uniform(0.05, 0.19, count))
        sigma = radius * MIDDLE
        # Blurred points of this height keep it.
        total += cv2.GaussianBlur(layer, (0, 0), sigma) * np.float32(2 * np.pi * sigma**2)
    strands = np.zeros((MIDDLE, MIDDLE), np.uint8)
    hilum = anatomy.hila[side][0]
    for _ in range(rng.integers(2, 6)):
        middle = (focus + hilum) / 2 + rng.normal(0, 0.02, 2)
        stroke(strands, np.array([[rng.normal(focus, 0.03), middle, hilum]]), 1)
    total += cv2.GaussianBlur(strands, (0, 0), 0.8) * np.float32(rng.uniform(0.05, 0.12) / 255)
    # Shadows that lie one above the other saturate before the lung is as white as bone.
    return np.asarray(0.3 * np.tanh(total / 0.3), np.float32)


def _cavity(rng: np.random.Generator, focus: NDArray[np.float64]) -> Shadow:
    """Return a thick bright wall around air."""
    centre = focus + rng.normal(0, 0.012, 2)
    radius, wall = rng.uniform(0.022, 0.045), rng.uniform(0.005, 0.010)
    places = (np.arange(MIDDLE) + 0.5) / MIDDLE
    distance = np.hypot(*np.ix_(places - centre[1], (places - centre[0]) * rng.uniform(0.8, 1.2)))
    ring = rng.uniform(0.15, 0.25) * np.exp(-(((distance - radius) / wall) ** 2))
    air = rng.uniform(0.08, 0.15) / (1 + np.exp((distance - radius) / (0.3 * wall)))
    return np.asarray(ring - air, np.float32)
