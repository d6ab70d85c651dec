"""Pneumothorax of phantoms: air between chest wall and lung, dark and without vessels, beyond a thin pleural line.

The lung shrinks towards its hilum and leaves a rim of air: at the apex on upright films, at the base and in the
costophrenic angle on supine ones (Tocino et al., AJR 144:901, 1985). The air of the rim absorbs less than lung does,
the visceral pleura, seen from its edge, a little more.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.xray.anatomy import SIDES, Anatomy, Side
from raycxr.xray.canvas import COARSE, Layer, Shadow, enlarge, fill, filled
from raycxr.xray.curve import Curve
from raycxr.xray.digital import Radiograph
from raycxr.xray.shadows import chest_air

Mask = NDArray[np.bool_]

# Places on the outline of a lung, in knots of its template: up the chest wall from 11 and, at 18, over the
# apex. A knot is so many points of the curve:
_KNOT = 10
_MORE_AIR = 1.12  # air alone, relative to a lung full of air
_CANDIDATES = 300


@dataclass(frozen=True)
class _Rim:
    """A kind of pneumothorax: how often, from and to which knots it reaches, and how far the lung shrinks there."""

    share: float
    begin: tuple[float, float]
    end: tuple[float, float]
    shrinking: tuple[float, float]


_RIMS = {
    "apical": _Rim(0.50, (14.3, 16.3), (18.8, 20.2), (0.10, 0.32)),
    "lateral": _Rim(0.20, (11.3, 12.8), (16.5, 18.5), (0.07, 0.18)),
    "large": _Rim(0.20, (10.8, 12.0), (19.2, 20.8), (0.18, 0.55)),
    "basal": _Rim(0.10, (9.6, 10.4), (12.0, 13.5), (0.07, 0.18)),
}
_SECOND_SHARE, _THIRD_SHARE = 0.22, 0.04  # of films with a pneumothorax, as in the SIIM-ACR table


def draw_pneumothorax(rng: np.random.Generator, anatomy: Anatomy, size: int) -> tuple[Mask, ...]:
    """Draw where a patient has a pneumothorax.

    Returns
    -------
    tuple of bool array (size, size)
        One to three masks, none of them empty: one of each separate rim of air, all within the lungs.
    """
    side: Side = SIDES[int(rng.integers(2))]
    names, shares = list(_RIMS), [rim.share for rim in _RIMS.values()]
    kinds = [(side, names[int(rng.choice(len(names), p=shares))])]
    chance = rng.random()
    if chance < _SECOND_SHARE:
        # Air below the lung where there is air above it, else the other lung's apex.
        other: Side = SIDES[1 - SIDES.index(side)]
        kinds.append((side, "basal") if kinds[0][1] == "apical" else (other, "apical"))
    if chance < _THIRD_SHARE:
        kinds.append((SIDES[1 - SIDES.index(side)], "basal"))
    heart = filled([anatomy.heart], size) > 127
    masks = [_rim(rng, anatomy, lung, _RIMS[kind], size) & ~heart for lung, kind in kinds]
    return tuple(mask for mask in masks if mask.any())


def fit_anatomy(rng: np.random.Generator, anatomy: Anatomy, mask: Mask) -> Anatomy:
    """Move and stretch a patient so that a given mask (H, W) lies in the lungs, with its outer edge at their wall."""
    distance = _distance_inside(filled(anatomy.lungs.values(), COARSE)) / COARSE
    points, outer = _landmarks(mask)
    stretch = rng.uniform(0.80, 1.12, (_CANDIDATES, 2))
    shift = rng.normal(0, 0.05, (_CANDIDATES, 2))
    stretch[0], shift[0] = 1, 0
    # Where the points of the picture lie in the patient who has not been moved yet.
    places = (points - 0.5 - shift[:, None]) / stretch[:, None] + 0.5
    columns, rows = np.clip((places * COARSE).astype(int), 0, COARSE - 1).transpose(2, 0, 1)
    inside = distance[rows, columns]
    outside = np.minimum(inside, 0).mean(axis=1)
    away_from_wall = np.abs(inside[:, outer] - 0.004).mean(axis=1)
    best = int(np.argmax(outside - 0.7 * away_from_wall - 0.05 * np.abs(shift).sum(axis=1)))
    return anatomy.moved((stretch[best, 0], stretch[best, 1]), (shift[best, 0], shift[best, 1]))


def add_pneumothorax(rng: np.random.Generator, radiograph: Radiograph, mask: Mask) -> None:
    """Draw a pneumothorax into a radiograph exactly where its mask is set.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides how plainly it is to be seen.
    radiograph : Radiograph
        One without a pneumothorax; its image is changed in place.
    mask : bool array, of the image's shape
        Where the air is. Parts that reach beyond the lungs become as dark as those within.
    """
    size = radiograph.image.shape[0]
    rows, columns = _surroundings(mask, 4 + size // 64)
    developed = radiograph.processing.develop(_with_air(radiograph), radiograph.slow_part)
    air = cv2.resize(developed, (size, size), interpolation=cv2.INTER_CUBIC)[rows, columns]
    part, seen = mask[rows, columns], radiograph.image[rows, columns]
    cover = cv2.GaussianBlur(part.astype(np.float32), (0, 0), _softness(size)) * np.float32(rng.uniform(0.75, 1))
    seen += (np.minimum(air, seen) - seen) * cover
    lungs = filled(radiograph.anatomy.lungs.values(), size)[rows, columns] > 127
    seen += _pleural_line(part, lungs, size) * np.float32(rng.uniform(0.10, 0.24))


def _surroundings(mask: Mask, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns that hold a mask and what is next to it."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (
        slice(max(top - margin, 0), top + height + margin),
        slice(max(left - margin, 0), left + width + margin),
    )


def _softness(size: int) -> float:
    """Return the deviation in pixels by which edges are blurred, as a detector blurs them."""
    return max(size / 1500, 0.3)


def _rim(rng: np.random.Generator, anatomy: Anatomy, side: Side, rim: _Rim, size: int) -> Mask:
    """Return the rim of air between the outline of a lung and the same outline, shrunken towards its hilum."""
    begin, end = rng.uniform(*rim.begin), rng.uniform(*rim.end)
    places = np.linspace(begin, end, 80)
    wall = _along(anatomy.lungs[side], places)
    hilum = anatomy.hila[side] + np.array([side * 0.05, 0.08]) * anatomy.scale
    progress = np.linspace(0, 1, len(places))
    waves = np.zeros(len(places))
    for order in (2, 3, 5):
        waves += rng.normal(0, 0.10 / order) * np.sin(order * np.pi * progress + rng.uniform(0, 6))
    # Thin at both ends, thickest somewhere between them, for air that rises rather at the upper one.
    thickness = np.sin(np.pi * progress ** rng.uniform(0.7, 1.5)) ** rng.uniform(0.5, 0.9) * (1 + waves)
    lung = wall + (hilum - wall) * (rng.uniform(*rim.shrinking) * np.clip(thickness, 0, 1))[:, None]
    layer = np.zeros((size, size), np.uint8)
    fill(layer, np.concatenate([wall, lung[::-1]]))
    within = filled([anatomy.lungs[side]], size) > 127
    return np.asarray((layer > 127) & within)


def _along(outline: Curve, knots: NDArray[np.float64]) -> Curve:
    closed = np.concatenate([outline, outline[:1]])
    places = knots * _KNOT % len(outline)
    return np.stack([np.interp(places, np.arange(len(closed)), axis) for axis in closed.T], axis=1)


def _with_air(radiograph: Radiograph) -> Shadow:
    """Return the attenuation of the patient if the whole chest, and all around it, were filled with air."""
    shadows, lungs = radiograph.shadows, radiograph.anatomy.lungs.values()
    side = shadows.air.shape[0]
    pure = enlarge(chest_air(radiograph.anatomy), side) * np.float32(_MORE_AIR)
    attenuation = shadows.tissue - np.maximum(pure, shadows.air)
    # Beyond the lungs the heart or the liver lies in front: a given mask is to be dark there, too.
    common = np.quantile(attenuation[filled(lungs, side) > 127][::7], 0.6)
    np.minimum(attenuation, np.float32(common), out=attenuation)
    return np.asarray(attenuation + shadows.bones, np.float32)


def _pleural_line(mask: Mask, lungs: Mask, size: int) -> Shadow:
    """Return the edge of the mask that lies within a lung, not at the chest wall, as a line 0 to 1."""
    chest = (mask | lungs).astype(np.uint8)
    wall_distance = cv2.distanceTransform(chest, cv2.DIST_L2, 3) / np.float32(size)
    width = max(1, round(size / 512))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    edge = (cv2.dilate(mask.astype(np.uint8), kernel) > 0) & ~mask & lungs
    strength = np.clip((wall_distance - 0.006) / 0.008, 0, 1) * edge
    return np.asarray(cv2.GaussianBlur(strength.astype(np.float32), (0, 0), _softness(size)), np.float32)


def _distance_inside(layer: Layer) -> Shadow:
    """Return the distance of every pixel to the edge of a filled layer, negative outside."""
    inside = (layer > 127).astype(np.uint8)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    beyond = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    return np.asarray(within - beyond, np.float32)


def _landmarks(mask: Mask) -> tuple[Curve, NDArray[np.int64]]:
    """Return points (N, 2) of the mask, and the numbers of those that lie farthest out in their direction."""
    coarse = cv2.resize(mask.astype(np.uint8) * 255, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    points = (np.argwhere(coarse >= min(128, int(coarse.max())))[:, ::-1] + 0.5) / COARSE
    middle = np.where(points[:, :1] < 0.5, [[0.33, 0.5]], [[0.67, 0.5]])
    way = points - middle
    direction = np.floor(np.arctan2(way[:, 1], way[:, 0]) / np.pi * 24).astype(int) + 100 * (points[:, 0] < 0.5)
    farthest: dict[int, int] = {}
    for number in np.argsort(np.hypot(way[:, 0], way[:, 1])).tolist():
        farthest[int(direction[number])] = number
    return points, np.array(sorted(farthest.values()))
