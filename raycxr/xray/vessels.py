"""The trees of lung vessels, which fan out from the hila, branch and taper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raycxr.xray.anatomy import SIDES, Anatomy, Side
from raycxr.xray.canvas import Layer, stroke

_TRUNK = 0.0095  # width of a vessel at the hilum, as a share of the film's side
_GREYS = 8


@dataclass(frozen=True)
class Branches:
    """Vessels of one generation: points (N, steps + 1, 2), and at each the direction (radians) and width."""

    points: NDArray[np.float64]
    angle: NDArray[np.float64]
    width: NDArray[np.float64]


def draw_vessels(rng: np.random.Generator, anatomy: Anatomy, side: int) -> Layer:
    """Draw the vessels of both lungs on a layer of the given side; thin ones are fainter."""
    layer = np.zeros((side, side), np.uint8)
    generations = [branches for lung in SIDES for branches in _tree(rng, anatomy, lung)]
    segments = np.concatenate([_segments(branches.points) for branches in generations])
    width = np.concatenate([branches.width[:, :-1].ravel() for branches in generations])
    grey = np.ceil(np.clip(width / (_TRUNK * anatomy.scale), 0.05, 1) ** 0.8 * _GREYS).astype(int)
    pixels = np.maximum(1, np.rint(width * side)).astype(int)
    # From thin to thick, so that a trunk is not crossed by its twigs.
    for thickness, level in sorted({*zip(pixels.tolist(), grey.tolist(), strict=True)}):
        chosen = segments[(pixels == thickness) & (grey == level)]
        stroke(layer, chosen, thickness, 255 * level // _GREYS)
    return layer


def _tree(rng: np.random.Generator, anatomy: Anatomy, side: Side) -> list[Branches]:
    """Grow three generations, the longest and densest towards the base of the lung."""
    trunks = 10
    degrees = np.linspace(-80, 88, trunks) + rng.normal(0, 5, trunks)
    length = anatomy.scale * (0.25 + 0.09 * np.sin(np.deg2rad(degrees))) * rng.uniform(0.75, 1.15, trunks)
    start = anatomy.hila[side] + rng.normal(0, (0.006, 0.022), (trunks, 2))
    width = np.full(trunks, _TRUNK * anatomy.scale) * rng.uniform(0.6, 1, trunks)
    generations = [_grow(rng, side, start, np.deg2rad(degrees), length, width, steps=8)]
    for joints, steps, share in ((range(2, 8), 6, 0.45), (range(1, 5), 4, 0.5)):
        parent = generations[-1]
        leave = np.array(joints)
        start = parent.points[:, leave].reshape(-1, 2)
        turn = rng.choice((-1, 1), len(start)) * rng.uniform(0.4, 0.85, len(start))
        reach = np.repeat(length, len(joints)) * rng.uniform(0.7, 1.2, len(start)) * share
        thin = parent.width[:, leave].ravel() * 0.6
        angle = parent.angle[:, leave].ravel() + turn
        generations.append(_grow(rng, side, start, angle, reach, thin, steps))
        length = reach
    return generations


def _grow(
    rng: np.random.Generator,
    side: Side,
    start: NDArray[np.float64],
    angle: NDArray[np.float64],
    length: NDArray[np.float64],
    width: NDArray[np.float64],
    steps: int,
) -> Branches:
    """Let N vessels wander from `start` (N, 2) in the direction `angle` (0 outwards, positive downwards)."""
    bend = angle[:, None] + np.cumsum(rng.normal(0, 0.17, (len(start), steps)), axis=1)
    moves = np.stack([side * np.cos(bend), np.sin(bend)], axis=2) * (length / steps)[:, None, None]
    points = np.concatenate([start[:, None], start[:, None] + np.cumsum(moves, axis=1)], axis=1)
    taper = width[:, None] * np.linspace(1, 0.15, steps + 1)
    return Branches(points, np.concatenate([angle[:, None], bend], axis=1), taper)


def _segments(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut lines (N, steps + 1, 2) into single steps (N * steps, 2, 2)."""
    return np.stack([points[:, :-1], points[:, 1:]], axis=2).reshape(-1, 2, 2)
