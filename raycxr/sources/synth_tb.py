"""Phantoms as the tuberculosis sets of Montgomery and Shenzhen, and the mirror of both, lie on disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.sources.montgomery import LONG_SIDE, MASK_FOLDER, READING_FOLDER, SHORT_SIDE, SIDES
from raycxr.sources.shenzhen import IMAGE_FOLDER, MASK_FOLDERS
from raycxr.sources.synth_writer import (
    Progress,
    SynthSummary,
    chosen_before,
    eight_bits,
    encode_mask,
    require_empty,
    spread,
    write_films,
)
from raycxr.storage.location import Location
from raycxr.xray.anatomy import draw_anatomy
from raycxr.xray.digital import add_noise, draw_radiograph
from raycxr.xray.markings import add_markings
from raycxr.xray.mask import resize_mask
from raycxr.xray.phantom import structure_masks
from raycxr.xray.picture import encode_png
from raycxr.xray.resample import resize_image
from raycxr.xray.tuberculosis import draw_tuberculosis

# A quarter of the genuine 4892 pixels: a film of full size takes seconds to draw and to read.
_MONTGOMERY_SIDE = LONG_SIDE // 4
_SHENZHEN_SIDE = 1024
_LYING_SHARE = 0.65  # of Montgomery's films; the others stand upright
_WHITE = 2**12 - 1


@dataclass(frozen=True)
class _Set:
    """A set's name, and how many of its films show tuberculosis and have no mask."""

    prefix: str
    code: int
    films: int
    sick: int
    unmasked: int

    def name(self, number: int) -> str:
        """Name of film `number` (from 0), the label at the end."""
        return f"{self.prefix}_{number + 1:04d}_{int(spread(number, self.sick, self.films))}"

    def masks(self, count: int) -> int:
        """How many of the first films have a mask."""
        return count - chosen_before(count, self.unmasked, self.films)


# Jaeger et al. 2014; masks of Shenzhen: Stirenko et al. 2018.
_MONTGOMERY = _Set("MCUCXR", 1, films=138, sick=58, unmasked=0)
_SHENZHEN = _Set("CHNCXR", 2, films=662, sick=336, unmasked=662 - 566)


@dataclass(frozen=True)
class TbFilm:
    """A film, grey levels 0 to 1, shape (H, W), its lungs as in `raycxr.sources.montgomery.SIDES`, and its reading."""

    image: NDArray[np.float32]
    lungs: dict[str, NDArray[np.bool_]]
    reading: str


def write_montgomery(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write phantoms as the Montgomery set: 80 normal films to 58 with tuberculosis.

    Films ``CXR_png/MCUCXR_0001_0.png`` (12 bits in 16, upright or lying), masks of the same names in
    ``ManualMask/leftMask/`` and ``ManualMask/rightMask/``, readings in ``ClinicalReadings/MCUCXR_0001_0.txt``.

    Parameters are those of `raycxr.sources.synth_jsrt.write_jsrt`; `size` is the longer side of films and masks, 1223
    where None, a quarter of the genuine 4892, and the shorter one keeps the genuine aspect.
    """
    require_empty(out)
    write_films(partial(_write_montgomery, out, size or _MONTGOMERY_SIDE, seed), range(count), progress)
    return SynthSummary("montgomery", count, _MONTGOMERY.masks(count))


def write_shenzhen(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write phantoms as the Shenzhen set: 326 normal films to 336 with tuberculosis, 14 % of all without a mask.

    Films ``CXR_png/CHNCXR_0001_0.png`` (RGB, 8 bits, of slightly different aspects) and masks of both lungs
    ``mask/CHNCXR_0001_0_mask.png``.

    Parameters are those of `raycxr.sources.synth_jsrt.write_jsrt`; `size` is the longer side of films and masks, 1024
    where None, a third of the genuine 3000.
    """
    require_empty(out)
    write = partial(_write_shenzhen, out, MASK_FOLDERS[0], size or _SHENZHEN_SIDE, seed)
    write_films(write, range(count), progress)
    return SynthSummary("shenzhen", count, _SHENZHEN.masks(count))


def write_tb_mirror(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write the films of both sets, 138 of Montgomery to 662 of Shenzhen, in one ``CXR_png/`` and one ``masks/``.

    Masks of both lungs bear the film's own name for Montgomery, and add ``_mask`` for Shenzhen.

    Parameters are those of `raycxr.sources.synth_jsrt.write_jsrt`; `size` is the longer side; where None, that of
    either set.
    """
    require_empty(out)
    write_films(partial(_write_mirror, out, size, seed), range(count), progress)
    montgomery = _montgomery_before(count)
    return SynthSummary("tb-mirror", count, _MONTGOMERY.masks(montgomery) + _SHENZHEN.masks(count - montgomery))


def draw_tb_film(rng: np.random.Generator, sick: bool, height: int, width: int) -> TbFilm:
    """Draw a normal film or one with tuberculosis."""
    longer = max(height, width)
    # Phantoms are drawn on squares: what is squeezed beforehand has its true proportions on the film.
    anatomy = draw_anatomy(rng).moved((height / longer, width / longer), (0, 0.03 * (width / longer - 1)))
    disease = draw_tuberculosis(rng, anatomy) if sick else None
    radiograph = draw_radiograph(rng, anatomy, longer, disease.shadow if disease else None)
    image = np.ascontiguousarray(resize_image(radiograph.image, height, width))
    add_markings(rng, image)
    add_noise(rng, image)
    masks = structure_masks(anatomy, longer)
    lungs = {side: resize_mask(masks[side].astype(np.uint8), height, width, 1) > 0 for side in SIDES}
    return TbFilm(np.clip(image, 0, 1, out=image), lungs, disease.reading if disease else "normal")


def _montgomery_film(seed: int, number: int, size: int) -> tuple[str, TbFilm]:
    rng = np.random.default_rng([seed, _MONTGOMERY.code, number])
    name = _MONTGOMERY.name(number)
    shorter = round(size * SHORT_SIDE / LONG_SIDE)
    height, width = (shorter, size) if rng.random() < _LYING_SHARE else (size, shorter)
    return name, draw_tb_film(rng, name.endswith("1"), height, width)


def _write_montgomery(out: Location, size: int, seed: int, number: int) -> None:
    name, film = _montgomery_film(seed, number, size)
    for side, folder in SIDES.items():
        (out / MASK_FOLDER / folder / f"{name}.png").write_bytes(encode_mask(film.lungs[side]))
    rng = np.random.default_rng([seed, _MONTGOMERY.code, number, 1])
    patient = f"Patient's Sex: {'MF'[int(rng.integers(2))]}\nPatient's Age: {rng.integers(15, 85):03d}Y"
    (out / READING_FOLDER / f"{name}.txt").write_text(f"{patient}\n{film.reading}\n")
    _write_twelve_bits(out / IMAGE_FOLDER / f"{name}.png", film)


def _write_shenzhen(out: Location, masks: str, size: int, seed: int, number: int) -> None:
    rng = np.random.default_rng([seed, _SHENZHEN.code, number])
    name = _SHENZHEN.name(number)
    sides = [size, round(size * rng.uniform(0.88, 1))]
    height, width = sides if rng.random() < 0.5 else sides[::-1]
    film = draw_tb_film(rng, name.endswith("1"), height, width)
    if not spread(number, _SHENZHEN.unmasked, _SHENZHEN.films):
        (out / masks / f"{name}_mask.png").write_bytes(encode_mask(_both(film)))
    colour = cv2.cvtColor(eight_bits(film.image), cv2.COLOR_GRAY2BGR)
    (out / IMAGE_FOLDER / f"{name}.png").write_bytes(encode_png(np.asarray(colour, np.uint8)))


def _write_mirror(out: Location, size: int | None, seed: int, number: int) -> None:
    before = _montgomery_before(number)
    if _montgomery_before(number + 1) == before:
        _write_shenzhen(out, MASK_FOLDERS[1], size or _SHENZHEN_SIDE, seed, number - before)
        return
    name, film = _montgomery_film(seed, before, size or _MONTGOMERY_SIDE)
    (out / MASK_FOLDERS[1] / f"{name}.png").write_bytes(encode_mask(_both(film)))
    _write_twelve_bits(out / IMAGE_FOLDER / f"{name}.png", film)


def _montgomery_before(number: int) -> int:
    """Return how many films of the mirror before film `number` are Montgomery's."""
    return chosen_before(number, _MONTGOMERY.films, _MONTGOMERY.films + _SHENZHEN.films)


def _both(film: TbFilm) -> NDArray[np.bool_]:
    return np.asarray(np.logical_or.reduce(list(film.lungs.values())))


def _write_twelve_bits(place: Location, film: TbFilm) -> None:
    place.write_bytes(encode_png(np.rint(film.image * _WHITE).astype(np.uint16)))
