"""Phantoms: drawn chest films with true masks, so that everything can be tried without patient data.

A film is a sum of attenuations, so that ribs and clavicles show through the lungs and the spine through the
heart. Scatter, the film's curve (density against exposure), grain and borders follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.xray.anatomy import SIDE_NAMES, SIDES, Anatomy, draw_anatomy
from raycxr.xray.canvas import COARSE, FINE, Shadow, enlarge, filled
from raycxr.xray.resample import resize_image
from raycxr.xray.shadows import bones, lungs, nodule, soft_tissue


@dataclass(frozen=True)
class Phantom:
    """A drawn film.

    Parameters
    ----------
    image : float32 array (film_size, film_size)
        Grey levels 0 (black) to 1 (white), bone bright and lungs dark.
    masks : dict of str to bool array (size, size)
        The five structures of SCR by name; "left" is the patient's left, the right half of the picture.
    """

    image: NDArray[np.float32]
    masks: dict[str, NDArray[np.bool_]]


def draw_phantom(
    rng: np.random.Generator, size: int, film_size: int | None = None, with_nodule: bool = False
) -> Phantom:
    """Draw a film.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides everything about patient and exposure.
    size : int
        Side of the masks in pixels.
    film_size : int, optional
        Side of the image where it differs. Anatomy is drawn with at most 384 pixels and enlarged (it has no
        finer detail), grain and borders at full size.
    with_nodule : bool
        Whether a lung holds a round nodule (which belongs to no mask).
    """
    anatomy = draw_anatomy(rng)
    masks = structure_masks(anatomy, size)
    side = film_size or size
    grid = min(side, FINE)
    attenuation = soft_tissue(rng, anatomy, grid)
    attenuation -= lungs(rng, anatomy, grid)
    attenuation += bones(anatomy, grid)
    if with_nodule:
        # A generator of its own: the patient and the exposure are the same with and without a nodule.
        attenuation += nodule(rng.spawn(1)[0], anatomy, grid)
    image = resize_image(_expose(rng, attenuation), side, side)
    _add_grain(rng, image)
    _add_borders(rng, image)
    return Phantom(np.clip(image, 0, 1, out=image), masks)


def structure_masks(anatomy: Anatomy, size: int) -> dict[str, NDArray[np.bool_]]:
    """Return the structures as SCR draws them: lungs end at the heart, clavicles lie over the lungs."""
    heart = filled([anatomy.heart], size) > 127
    masks = {"heart": heart}
    for side in SIDES:
        masks[f"{SIDE_NAMES[side]} lung"] = (filled([anatomy.lungs[side]], size) > 127) & ~heart
        masks[f"{SIDE_NAMES[side]} clavicle"] = filled([anatomy.drawn_clavicles[side]], size) > 127
    return masks


def _expose(rng: np.random.Generator, attenuation: Shadow) -> Shadow:
    """Return the film's grey levels: scatter veils the picture, and density saturates at both ends."""
    coarse = cv2.resize(attenuation, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    veil = enlarge(np.asarray(cv2.GaussianBlur(coarse, (0, 0), 0.05 * COARSE), np.float32), attenuation.shape[0])
    share = rng.uniform(0.10, 0.25)
    contrast, middle = rng.uniform(4.4, 5.8), rng.uniform(0.62, 0.78)
    black, white = rng.uniform(0.0, 0.06), rng.uniform(0.9, 1.0)
    seen = cv2.addWeighted(attenuation, -contrast * (1 - share), veil, -contrast * share, contrast * middle)
    exposure = np.asarray(cv2.exp(seen), np.float32)
    exposure += 1
    image = np.divide(np.float32(white - black), exposure, out=exposure)
    image += np.float32(black)
    return image


def _add_grain(rng: np.random.Generator, image: Shadow) -> None:
    """Add quantum noise, whose variance grows with the exposure, that is with the darkness of the film."""
    noise = rng.standard_normal(image.shape, np.float32)
    spread = np.sqrt(np.float32(1.15) - image)
    spread *= np.float32(rng.uniform(0.006, 0.016))
    noise *= spread
    image += noise


def _add_borders(rng: np.random.Generator, image: Shadow) -> None:
    """Add what films have at their edges: black name plates and white strips that no ray reached."""
    side = image.shape[0]
    for column in (0.0, rng.uniform(0.78, 0.9)):
        if rng.random() < 0.35:
            width, height = rng.uniform(0.12, 0.3), rng.uniform(0.02, 0.05)
            image[: int(height * side), int(column * side) : int((column + width) * side)] = 0.01
    if rng.random() < 0.2:
        left, top = rng.uniform(0.4, 0.5), rng.uniform(0.88, 0.94)
        image[int(top * side) :, int(left * side) : int((left + 0.13) * side)] = 0.01
    strip = int(rng.uniform(0.008, 0.03) * side)
    if rng.random() < 0.3:
        image[:, :strip] = 0.99
    if rng.random() < 0.3:
        image[side - strip :] = 0.99
