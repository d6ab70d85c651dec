"""The shadows that add up to a chest film: soft tissue, air and vessels of the lungs, bones, a nodule."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.xray.anatomy import RIB_POINTS, SPINE_MORE, Anatomy
from raycxr.xray.canvas import COARSE, MIDDLE, Shadow, blurred, enlarge, fill, filled, rounded, soft, stroke
from raycxr.xray.curve import Curve, band
from raycxr.xray.vessels import draw_vessels

_VERTEBRA = 0.050  # height of a vertebra with its disc
_RIB_WIDTH = np.linspace(0.030, 0.0255, RIB_POINTS)  # from the spine or the chest wall on


def soft_tissue(rng: np.random.Generator, anatomy: Anatomy, side: int) -> Shadow:
    """Return the shadow of muscle, fat and organs: thick in the middle of the body, thin at the skin."""
    torso = rounded(anatomy.torso, 0.13)
    arms = np.maximum(*[rounded(arm, 0.09) for arm in anatomy.arms])
    downwards = np.linspace(-0.06, 0.20, COARSE, dtype=np.float32)[:, None]
    coarse = np.maximum((0.85 + downwards) * torso, 0.60 * arms)
    coarse += 0.20 * soft(anatomy.shoulders, 0.04)
    coarse += 0.32 * soft([anatomy.abdomen], 0.010) * torso
    coarse += 0.13 * soft([band(anatomy.spine, 0.15)], 0.03)
    coarse -= 0.17 * soft([anatomy.trachea], 0.006)
    if rng.random() < 0.45:
        coarse += rng.uniform(0.05, 0.15) * soft(anatomy.breasts, 0.012)
    if rng.random() < 0.6:
        coarse -= rng.uniform(0.15, 0.5) * soft([anatomy.stomach], 0.006)
    tissue = enlarge(coarse, side)
    tissue += enlarge(blurred(filled([anatomy.aorta], MIDDLE), 0.005, 0.07), side)
    return tissue


def lungs(rng: np.random.Generator, anatomy: Anatomy, side: int) -> Shadow:
    """Return what the lungs take away from the soft tissue: their air, less their vessels and the heart."""
    vessels = draw_vessels(rng, anatomy, side)
    hila = blurred(cv2.resize(vessels, (COARSE, COARSE), interpolation=cv2.INTER_AREA), 0.022)
    coarse = chest_air(anatomy) - np.float32(rng.uniform(0.2, 0.4)) * hila
    fine = enlarge(coarse, MIDDLE) - np.float32(rng.uniform(0.008, 0.018)) * _texture(rng)
    air = enlarge(fine, side)
    air -= blurred(vessels, 0.0024, rng.uniform(0.12, 0.20))
    # The heart lies in front of a part of the lung: four fifths of the air are gone there.
    heart = np.zeros((side, side), np.uint8)
    fill(heart, anatomy.heart, 204)
    inside = cv2.subtract(filled(anatomy.lungs.values(), side), heart)
    air *= blurred(np.asarray(inside, np.uint8), 0.003)
    return air


def chest_air(anatomy: Anatomy) -> Shadow:
    """Return, on the coarse grid, what air would take away if it filled the chest: thin at its wall and beyond."""
    depth = np.maximum(*[rounded(lung, 0.20) for lung in anatomy.lungs.values()])
    return np.asarray(0.32 + 0.38 * depth, np.float32)


def bones(anatomy: Anatomy, side: int) -> Shadow:
    """Return the shadow of spine, ribs, clavicles, shoulder blades and upper arms."""
    coarse = 0.12 * soft(_vertebrae(anatomy), 0.006) + 0.10 * soft([band(anatomy.spine, 0.075)], 0.010)
    coarse += 0.10 * soft(anatomy.humeri, 0.008) + 0.08 * soft(anatomy.scapulae, 0.008)
    shadow = enlarge(coarse, MIDDLE)
    shadow += blurred(_bands(_ribs(anatomy.posterior_ribs, anatomy.scale), 150), 0.004, 0.13)
    shadow += blurred(_bands(_ribs(anatomy.anterior_ribs, anatomy.scale), 190), 0.006, 0.085)
    shadow += blurred(_bands(list(anatomy.clavicles.values()), 190), 0.004, 0.14)
    return enlarge(shadow, side)


def nodule(rng: np.random.Generator, anatomy: Anatomy, side: int) -> Shadow:
    """Return the shadow of a round nodule of 1 to 3 cm (on a field of 35 cm) somewhere in a lung."""
    lung = cv2.subtract(filled(anatomy.lungs.values(), COARSE), filled([anatomy.heart], COARSE))
    centre = (rng.choice(np.argwhere(lung)) + 0.5) / COARSE
    radius, strength = rng.uniform(0.014, 0.043), rng.uniform(0.06, 0.18)
    places = (np.arange(MIDDLE, dtype=np.float32) + 0.5) / MIDDLE
    distance = np.hypot(*np.ix_((places - centre[0]) / radius, (places - centre[1]) / radius))
    shadow = strength / (1 + np.exp(8 * (distance - 1)))
    return enlarge(np.asarray(shadow, np.float32), side)


def _vertebrae(anatomy: Anatomy) -> list[Curve]:
    """Return the vertebral bodies, with gaps for the discs between them."""
    # The drawn part of the spine is 1.25 long, whatever lies beyond the film.
    count = round(1.25 / _VERTEBRA * (len(anatomy.spine) - 1) / (len(anatomy.spine) - 1 - 2 * SPINE_MORE))
    places = np.linspace(0, len(anatomy.spine) - 1, count * 8 + 1)
    line = np.stack([np.interp(places, np.arange(len(anatomy.spine)), axis) for axis in anatomy.spine.T], axis=1)
    waist = np.array([0.086, 0.080, 0.074, 0.074, 0.080, 0.086]) * anatomy.scale
    return [band(line[8 * number : 8 * number + 6], waist) for number in range(count)]


def _ribs(centres: tuple[Curve, ...], scale: float) -> list[Curve]:
    return [band(centre, _RIB_WIDTH * scale) for centre in centres]


def _bands(outlines: list[Curve], marrow: int) -> NDArray[np.uint8]:
    """Draw long bones: marrow of the given grey between two lines of dense cortex."""
    layer = np.zeros((MIDDLE, MIDDLE), np.uint8)
    for outline in outlines:
        fill(layer, outline, marrow)
        stroke(layer, outline.reshape(2, -1, 2), 1)
    return layer


def _texture(rng: np.random.Generator) -> Shadow:
    """Return fine irregular structure of the lung, standard deviation about 1, without a slow part."""
    fine = rng.standard_normal((MIDDLE, MIDDLE), np.float32)
    return np.asarray(cv2.GaussianBlur(fine, (0, 0), 1.4) - cv2.GaussianBlur(fine, (0, 0), 4), np.float32) * 6
