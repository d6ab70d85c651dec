"""Smooth curves through a few points: the outlines from which phantoms are drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Curve: TypeAlias = NDArray[np.float64]  # (points, 2): x to the right, y downwards
Points: TypeAlias = Sequence[tuple[float, float]] | Curve


def closed_curve(points: Points, corners: Collection[int] = (), samples: int = 10) -> Curve:
    """Return a closed cardinal spline through the points, with a sharp tip at each of `corners`.

    Returns
    -------
    float64 array (len(points) * samples, 2)
    """
    knots = np.asarray(points, np.float64)
    following = np.roll(knots, -1, axis=0)
    tangents = (following - np.roll(knots, 1, axis=0)) / 2
    tangents[list(corners)] = 0
    return _hermite(knots, following, tangents, np.roll(tangents, -1, axis=0), samples)


def open_curve(points: Points, samples: int = 10) -> Curve:
    """Return a cardinal spline from the first to the last point, (len(points) - 1) * samples + 1 points."""
    knots = np.asarray(points, np.float64)
    tangents = _tangents(knots)
    inner = _hermite(knots[:-1], knots[1:], tangents[:-1], tangents[1:], samples)
    return np.concatenate([inner, knots[-1:]])


def band(centre: Curve, width: NDArray[np.float64] | float) -> Curve:
    """Return the outline of a band of the given width (one value, or one per point) along a centre line."""
    along = _tangents(centre)
    half = np.asarray(width, np.float64) / 2 / np.hypot(along[:, 0], along[:, 1])
    side = along[:, ::-1] * half[:, None] * (-1, 1)
    return np.concatenate([centre + side, (centre - side)[::-1]])


def _tangents(knots: Curve) -> Curve:
    """Return half the way between the neighbours of each point; at both ends the way to the only one."""
    extended = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    return np.asarray((extended[2:] - extended[:-2]) / 2)


def _hermite(start: Curve, end: Curve, leave: Curve, arrive: Curve, samples: int) -> Curve:
    """Cubic Hermite pieces, `samples` points on each, without the end of the last one."""
    t = np.linspace(0, 1, samples, endpoint=False).reshape(1, -1, 1)
    pieces = (
        (2 * t**3 - 3 * t**2 + 1) * start[:, None]
        + (t**3 - 2 * t**2 + t) * leave[:, None]
        + (3 * t**2 - 2 * t**3) * end[:, None]
        + (t**3 - t**2) * arrive[:, None]
    )
    return np.asarray(pieces).reshape(-1, 2)
