"""Filling outlines on grids of three sizes: only what has fine detail is drawn on the finest one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.xray.curve import Curve

Shadow: TypeAlias = NDArray[np.float32]  # (side, side), attenuation or a share of it
Layer: TypeAlias = NDArray[np.uint8]  # (side, side), 0 to 255

COARSE, MIDDLE, FINE = 128, 256, 384  # sides of the grids
_FRACTION_BITS = 4


def fixed_point(points: Curve, side: int) -> NDArray[np.int32]:
    """Return points in the fixed-point pixel coordinates that OpenCV draws with `shift=4`."""
    return np.asarray(np.rint((points * side - 0.5) * 2**_FRACTION_BITS), np.int32)


def fill(layer: Layer, curve: Curve, value: int = 255) -> None:
    """Fill the inside of an outline; its edge is anti-aliased, or enlarged films would show steps."""
    outline = fixed_point(curve, layer.shape[0])
    cv2.fillPoly(layer, [outline], (value,), lineType=cv2.LINE_AA, shift=_FRACTION_BITS)


def stroke(layer: Layer, lines: NDArray[np.float64], width: int, value: int = 255) -> None:
    """Draw open lines, shape (lines, points, 2), `width` pixels thick."""
    cv2.polylines(layer, list(fixed_point(lines, layer.shape[0])), False, (value,), width, shift=_FRACTION_BITS)


def filled(curves: Iterable[Curve], side: int) -> Layer:
    """Return a layer with the inside of all outlines at 255."""
    layer = np.zeros((side, side), np.uint8)
    for curve in curves:
        fill(layer, curve)
    return layer


def blurred(layer: Layer, softness: float, strength: float = 1.0) -> Shadow:
    """Return a layer as 0 to `strength`; `softness` is the deviation of the blur as a share of the side."""
    # OpenCV's Gaussian is several times faster on 8-bit layers, and shadows need no finer steps.
    sigma = max(softness * layer.shape[0], 0.3)
    blur = np.asarray(cv2.GaussianBlur(layer, (0, 0), sigma))
    return np.asarray(np.multiply(blur, np.float32(strength / 255), dtype=np.float32))


def soft(curves: Iterable[Curve], softness: float) -> Shadow:
    """Return the coarse shadow of outlines with soft edges, 0 to 1."""
    return blurred(filled(curves, COARSE), softness)


def rounded(curve: Curve, depth: float) -> Shadow:
    """Return the coarse shadow of a body with a round edge: 0 at the outline, 1 from `depth` inside it."""
    distance = cv2.distanceTransform(filled([curve], COARSE), cv2.DIST_L2, 3)
    inside = np.minimum(np.asarray(distance, np.float32) / np.float32(depth * COARSE), 1)
    return np.asarray(cv2.GaussianBlur(np.sqrt(inside * (2 - inside)), (0, 0), 1.2), np.float32)


def enlarge(shadow: Shadow, side: int) -> Shadow:
    """Return a shadow on another grid."""
    return np.asarray(cv2.resize(shadow, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
