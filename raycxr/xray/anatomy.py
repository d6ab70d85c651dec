"""The outlines of a chest as a posterior-anterior film shows it, different for every patient.

All lengths are shares of the film's side. Templates lie in body coordinates: x from the midline to the right
of the picture (the patient's left), y downwards from the upper edge. Sides: -1 the patient's right, 1 the left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from raycxr.xray.curve import Curve, Points, band, closed_curve, open_curve

Side: TypeAlias = Literal[-1, 1]

# The five structures of SCR (van Ginneken et al., Med Image Anal 2006), in the order of their bits.
STRUCTURES = ("heart", "left lung", "right lung", "left clavicle", "right clavicle")
SIDE_NAMES: dict[Side, str] = {-1: "right", 1: "left"}
SIDES: tuple[Side, Side] = (-1, 1)

# From the apex along the mediastinum to the diaphragm and up the chest wall, x mirrored for the right lung.
_RIGHT_LUNG = [
    (0.14, 0.075), (0.075, 0.115), (0.050, 0.20), (0.055, 0.31), (0.070, 0.42), (0.095, 0.52), (0.115, 0.61),
    (0.112, 0.695), (0.17, 0.685), (0.24, 0.70), (0.31, 0.745), (0.385, 0.835),
    (0.388, 0.74), (0.370, 0.60), (0.350, 0.45), (0.325, 0.31), (0.285, 0.19), (0.220, 0.105),
]  # fmt: skip
_LEFT_LUNG = [
    (0.14, 0.075), (0.080, 0.115), (0.062, 0.185), (0.092, 0.245), (0.088, 0.315), (0.110, 0.40),
    (0.100, 0.52), (0.100, 0.75), (0.20, 0.730), (0.27, 0.735), (0.33, 0.770), (0.390, 0.845),
    (0.392, 0.74), (0.375, 0.60), (0.352, 0.45), (0.325, 0.31), (0.285, 0.19), (0.220, 0.105),
]  # fmt: skip
_CARDIOPHRENIC, _COSTOPHRENIC = 7, 11
_HEART = [
    (0.040, 0.440), (0.105, 0.455), (0.155, 0.520), (0.200, 0.600), (0.238, 0.680), (0.232, 0.745),
    (0.150, 0.768), (0.040, 0.765), (-0.070, 0.750), (-0.118, 0.690), (-0.125, 0.610), (-0.105, 0.520),
    (-0.040, 0.455),
]  # fmt: skip
_TORSO = [
    (0.095, -0.10), (0.105, -0.02), (0.180, 0.015), (0.330, 0.040), (0.470, 0.080), (0.520, 0.20),
    (0.495, 0.36), (0.470, 0.50), (0.460, 0.70), (0.458, 0.95), (0.458, 1.20),
]  # fmt: skip
# Patients go on beyond the film: they may be moved and made smaller.
_BELOW, _ABOVE = [(0.458, 1.70), (-0.458, 1.70)], [(-0.095, -0.50), (0.095, -0.50)]
_ABDOMEN_SIDES = [(0.47, 0.95), (0.47, 1.3), (0.47, 1.7), (-0.47, 1.7), (-0.47, 1.3), (-0.47, 0.95)]
_SHOULDER = [
    (0.060, -0.05), (0.30, 0.03), (0.52, 0.08), (0.56, 0.22), (0.45, 0.25),
    (0.31, 0.135), (0.15, 0.115),
]  # fmt: skip
_ARM = [
    (0.300, 0.045), (0.450, 0.070), (0.560, 0.130), (0.660, 0.30), (0.680, 0.56),
    (0.580, 0.58), (0.505, 0.40),
]  # fmt: skip
_SCAPULA = [
    (0.300, 0.105), (0.400, 0.110), (0.455, 0.155), (0.445, 0.26), (0.405, 0.40),
    (0.375, 0.38), (0.345, 0.25),
]  # fmt: skip
_CLAVICLE = [(0.050, 0.190), (0.125, 0.172), (0.220, 0.150), (0.320, 0.105), (0.440, 0.108)]
_CLAVICLE_WIDTH = [0.054, 0.040, 0.034, 0.031, 0.034]
_WALL_Y, _WALL_X = [0.09, 0.19, 0.31, 0.45, 0.60, 0.80], [0.235, 0.298, 0.338, 0.363, 0.385, 0.404]
_RIBS = 10
RIB_POINTS = 24
SPINE_MORE = 16  # points by which the spine goes on beyond the film at either end
_ALONG_RIB = np.linspace(0, 1, RIB_POINTS)
_RIB_TURN = _ALONG_RIB * np.pi / 2


@dataclass(frozen=True)
class Anatomy:
    """Outlines in the picture, as shares of its side: curves of shape (points, 2)."""

    torso: Curve
    arms: tuple[Curve, ...]
    shoulders: tuple[Curve, ...]  # muscle over the apices
    lungs: dict[Side, Curve]  # each reaches behind the heart
    heart: Curve
    abdomen: Curve
    spine: Curve  # centre line
    trachea: Curve
    aorta: Curve
    stomach: Curve
    scapulae: tuple[Curve, ...]
    humeri: tuple[Curve, ...]
    breasts: tuple[Curve, ...]
    clavicles: dict[Side, Curve]  # from the breastbone to the shoulder
    drawn_clavicles: dict[Side, Curve]  # the part over the chest, which SCR annotates
    posterior_ribs: tuple[Curve, ...]  # centre lines from the spine to the chest wall
    anterior_ribs: tuple[Curve, ...]  # centre lines from the chest wall to the cartilage
    hila: dict[Side, Curve]  # one point each: where the vessels enter the lung
    scale: float  # size of this patient relative to the template

    def moved(self, stretch: tuple[float, float], shift: tuple[float, float]) -> Anatomy:
        """Return the same patient elsewhere: stretched from the middle of the picture by (x, y), then shifted."""

        def move(curve: Curve) -> Curve:
            return (curve - 0.5) * stretch + 0.5 + shift

        outlines = [field.name for field in fields(self) if field.name != "scale"]
        changed: dict[str, Any] = {name: _each(move, getattr(self, name)) for name in outlines}
        return replace(self, scale=self.scale * (stretch[0] * stretch[1]) ** 0.5, **changed)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient: proportions, heart size, slope of the clavicles, position on the film."""
    pose = _Pose(rng)
    heart = _jitter(rng, _HEART, 0.007)
    heart[:, 0] = 0.03 + (heart[:, 0] - 0.03) * rng.uniform(0.82, 1.14)
    heart[:, 1] = 0.76 + (heart[:, 1] - 0.76) * rng.uniform(0.88, 1.12)
    domes = {side: rng.normal(0, 0.015) for side in SIDES}
    lungs: dict[Side, Curve] = {
        -1: _lung(rng, _RIGHT_LUNG, -1, domes[-1]),
        1: _lung(rng, _LEFT_LUNG, 1, domes[1]),
    }
    heart[5:10, 1] += (domes[-1] + domes[1]) / 2
    clavicles = {side: _clavicle(rng, side) for side in SIDES}
    ribs = [_rib(rng, number, side) for side in SIDES for number in range(_RIBS)]
    bend = rng.normal(0, 0.006, 5)
    spine = _prolonged(open_curve([(bend[i], y) for i, y in enumerate((-0.1, 0.2, 0.5, 0.8, 1.15))]))
    return Anatomy(
        torso=pose.place(_torso() * (rng.uniform(0.96, 1.08), 1)),
        arms=tuple(pose.place(closed_curve(_mirror(_ARM, side))) for side in SIDES),
        shoulders=tuple(pose.place(closed_curve(_mirror(_SHOULDER, side))) for side in SIDES),
        lungs={side: pose.place(lung) for side, lung in lungs.items()},
        heart=pose.place(closed_curve(heart)),
        abdomen=pose.place(_abdomen(domes)),
        spine=pose.place(spine),
        trachea=pose.place(band(np.array([(0, -0.5), *open_curve([(0, -0.1), (-0.003, 0.1), (-0.012, 0.27)])]), 0.036)),
        aorta=pose.place(_aorta(rng)),
        stomach=pose.place(_ellipse(rng.uniform(0.15, 0.25), domes[1] + rng.uniform(0.79, 0.82), 0.055, 0.026)),
        scapulae=tuple(pose.place(closed_curve(_jitter(rng, _mirror(_SCAPULA, side), 0.008))) for side in SIDES),
        humeri=tuple(pose.place(_humerus(side)) for side in SIDES),
        breasts=tuple(pose.place(_ellipse(side * 0.25, 0.62, 0.17, 0.15)) for side in SIDES),
        clavicles={side: pose.place(_clavicle_band(centre, 1.0)) for side, centre in clavicles.items()},
        drawn_clavicles={side: pose.place(_clavicle_band(centre, 0.66)) for side, centre in clavicles.items()},
        posterior_ribs=tuple(pose.place(posterior) for posterior, _ in ribs),
        anterior_ribs=tuple(pose.place(anterior) for _, anterior in ribs),
        hila={side: pose.place(np.array([[side * 0.105, 0.375 - 0.012 * side]])) for side in SIDES},
        scale=pose.scale,
    )


class _Pose:
    """Body coordinates to picture coordinates: proportions, rotation, position and a slow irregular bend."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.scale = rng.uniform(0.93, 1.04)
        angle = np.deg2rad(rng.normal(0, 1.3))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self._matrix = np.diag([rng.uniform(0.96, 1.08), rng.uniform(0.90, 1.08)]) @ turn * self.scale
        self._shift = np.array([0.5, 0.06]) + rng.normal(0, (0.012, 0.015))
        self._waves = rng.normal(0, 3.5, (3, 2))
        self._phases = rng.uniform(0, 2 * np.pi, 3)
        self._bend = rng.normal(0, 0.0045, (3, 2))

    def place(self, curve: Curve) -> Curve:
        bent = curve + np.sin(curve @ self._waves.T + self._phases) @ self._bend
        placed: Curve = (bent - (0, 0.06)) @ self._matrix + self._shift
        return placed


def _each(move: Callable[[Curve], Curve], curves: Curve | tuple[Curve, ...] | dict[Side, Curve]) -> Any:
    if isinstance(curves, dict):
        return {side: move(curve) for side, curve in curves.items()}
    return tuple(map(move, curves)) if isinstance(curves, tuple) else move(curves)


def _mirror(points: Points, side: Side) -> Curve:
    return np.asarray(points, np.float64) * (side, 1)


def _jitter(rng: np.random.Generator, points: Points, amount: float) -> Curve:
    knots = np.asarray(points, np.float64)
    return knots + rng.normal(0, amount, knots.shape)


def _torso() -> Curve:
    """Return neck, shoulders and sides; the outline is closed far above and below the film."""
    samples = 10
    outline = closed_curve([*_TORSO, *[(-x, y) for x, y in reversed(_TORSO)]], samples=samples)
    half, last = samples * (len(_TORSO) - 1), samples * (2 * len(_TORSO) - 1)
    return np.concatenate([outline[: half + 1], _BELOW, outline[half + samples : last + 1], _ABOVE])


def _lung(rng: np.random.Generator, template: Points, side: Side, dome: float) -> Curve:
    knots = _jitter(rng, template, 0.004)
    knots[_CARDIOPHRENIC : _COSTOPHRENIC + 1, 1] += dome
    knots[_COSTOPHRENIC, 1] += rng.normal(0, 0.012)
    return closed_curve(_mirror(knots, side), corners=(_CARDIOPHRENIC, _COSTOPHRENIC))


def _abdomen(domes: dict[Side, float]) -> Curve:
    """Return everything below the diaphragm: the lower edges of the two lungs, and on to below the film."""
    right = [(-x, y + domes[-1]) for x, y in _RIGHT_LUNG[_COSTOPHRENIC : _CARDIOPHRENIC - 1 : -1]]
    left = [(x, y + domes[1]) for x, y in _LEFT_LUNG[_CARDIOPHRENIC : _COSTOPHRENIC + 1]]
    return np.concatenate([open_curve([*right, *left]), _ABDOMEN_SIDES])


def _aorta(rng: np.random.Generator) -> Curve:
    """Return the arch left of the trachea and the descending aorta along the spine."""
    knob = rng.uniform(0.078, 0.098)
    centre = open_curve([(0.02, 0.23), (knob - 0.022, 0.235), (knob - 0.02, 0.29), (0.05, 0.45), (0.03, 0.72)])
    return band(centre, rng.uniform(0.042, 0.055))


def _ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Curve:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)


def _humerus(side: Side) -> Curve:
    centre = open_curve([(side * 0.475, 0.165), (side * 0.53, 0.24), (side * 0.59, 0.42), (side * 0.62, 0.55)])
    return band(centre, np.interp(np.linspace(0, 1, len(centre)), [0, 0.2, 0.45, 1], [0.085, 0.08, 0.05, 0.045]))


def _prolonged(spine: Curve) -> Curve:
    """Return a spine that goes on straight for half a film above and below: it has no end where films are moved."""
    steps = np.arange(1, SPINE_MORE + 1)[:, None] * (0, 0.033)
    return np.concatenate([spine[0] - steps[::-1], spine, spine[-1] + steps])


def _clavicle(rng: np.random.Generator, side: Side) -> Curve:
    knots = _jitter(rng, _CLAVICLE, 0.004)
    knots[:, 1] -= rng.normal(0, 0.17) * (knots[:, 0] - 0.12)
    knots[:, 1] += rng.normal(0, 0.012)
    return open_curve(_mirror(knots, side))


def _clavicle_band(centre: Curve, share: float) -> Curve:
    """Return the outline of the inner `share` of a clavicle, thickest at the breastbone."""
    places = np.linspace(0, 1, len(centre))
    width = np.interp(places, np.linspace(0, 1, len(_CLAVICLE_WIDTH)), _CLAVICLE_WIDTH)
    inner = places <= share
    return band(centre[inner], width[inner])


def _rib(rng: np.random.Generator, number: int, side: Side) -> tuple[Curve, Curve]:
    """Return the back and the front half of a rib: out to the chest wall, then in and down."""
    start = 0.085 + 0.066 * number + rng.normal(0, 0.003)
    fall = 0.045 + 0.014 * number
    wall = float(np.interp(start + fall, _WALL_Y, _WALL_X))
    outwards, downwards = np.sin(_RIB_TURN), 1 - np.cos(_RIB_TURN)
    x = 0.035 + (wall - 0.035) * outwards
    y = start - 0.022 * np.sin(2 * _RIB_TURN) + fall * downwards * (1 + 0.3 * _ALONG_RIB)
    inwards = wall - (wall - 0.10 - 0.004 * number) * downwards
    front = y[-1] + (0.075 + 0.011 * number) * outwards
    return np.stack([side * x, y], axis=1), np.stack([side * inwards, front], axis=1)
