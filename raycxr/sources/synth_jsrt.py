"""Phantoms as JSRT and SCR lie on disk."""

from __future__ import annotations

from functools import partial

import numpy as np

from raycxr.sources.jsrt import FOLDS, IMAGE_FOLDER
from raycxr.sources.synth_writer import (
    Progress,
    SynthSummary,
    chosen_before,
    eight_bits,
    require_empty,
    spread,
    write_films,
)
from raycxr.storage.location import Location
from raycxr.xray.intensity import invert
from raycxr.xray.phantom import draw_phantom
from raycxr.xray.picture import encode_gif, encode_png
from raycxr.xray.raw import RAW_BITS, RAW_SIDE, encode_raw

# JSRT has 154 films with a nodule among 247; phantoms keep this share for any count.
_NODULES, _FILMS = 154, 247
_SCR_SIDE = 1024


def write_jsrt(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write phantoms as JSRT and SCR lie on disk.

    Films lie in ``All247images/`` (JPCLN with a nodule, JPCNN without, in the proportion 154 : 93 of the original;
    more than 247 continue the numbers), masks in ``scr/fold1/masks/<structure>/`` (odd numbers) and
    ``scr/fold2/masks/<structure>/`` (even numbers).

    Parameters
    ----------
    out : Location
        An empty or new folder.
    count : int
        Number of films. Film k is the same for every count.
    size : int or None
        None: raw ``.IMG`` films of 2048x2048 pixels, 12 bits, inverted, and GIF masks of 1024x1024. A number: the
        raw format knows only one size, so films are PNG of that size, as displayed (not inverted), and masks are
        of that size, but at most 1024.
    seed : int
        The same seed gives the same bytes, whatever the number of processes.
    progress : callable
        Called with 1 after every film.

    Raises
    ------
    DataError
        If the folder holds anything.
    """
    require_empty(out)
    write_films(partial(_write_film, out, size, seed), range(count), progress)
    return SynthSummary("jsrt", count, count)


def jsrt_name(number: int) -> str:
    """Name phantom `number` (from 0): the share of films with a nodule is kept in every part of the numbering."""
    nodules_before = chosen_before(number, _NODULES, _FILMS)
    if spread(number, _NODULES, _FILMS):
        return f"JPCLN{nodules_before + 1:03d}"
    return f"JPCNN{number - nodules_before + 1:03d}"


def _write_film(out: Location, size: int | None, seed: int, number: int) -> None:
    name = jsrt_name(number)
    mask_side = min(size or _SCR_SIDE, _SCR_SIDE)
    rng = np.random.default_rng([seed, number])
    phantom = draw_phantom(rng, mask_side, size or RAW_SIDE, with_nodule=name.startswith("JPCLN"))
    fold = FOLDS[0] if int(name[5:]) % 2 else FOLDS[1]
    for structure, mask in phantom.masks.items():
        (out / "scr" / fold / "masks" / structure / f"{name}.gif").write_bytes(encode_gif(mask))
    folder = out / IMAGE_FOLDER
    # The film comes last: where it lies, its masks do.
    if size is None:
        stored = np.rint(phantom.image * (2**RAW_BITS - 1)).astype(np.uint16)
        (folder / f"{name}.IMG").write_bytes(encode_raw(invert(stored, RAW_BITS)))
    else:
        (folder / f"{name}.png").write_bytes(encode_png(eight_bits(phantom.image)))
