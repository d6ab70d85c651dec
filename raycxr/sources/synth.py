"""Phantom data sets in the genuine layouts, so that everything can be tried without patient data."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.errors import DataError
from raycxr.sources.jsrt import FOLDS, IMAGE_FOLDER
from raycxr.storage.location import Location
from raycxr.xray.intensity import invert
from raycxr.xray.phantom import draw_phantom
from raycxr.xray.picture import encode_gif, encode_png
from raycxr.xray.raw import RAW_BITS, RAW_SIDE, encode_raw

# JSRT has 154 films with a nodule among 247; phantoms keep this share for any count.
_NODULES, _FILMS = 154, 247
_SCR_SIDE = 1024
_PAIRS_SIDE = 512
# Below this many films, starting processes takes longer than drawing.
_FEW_FILMS = 16

Progress = Callable[[int], object]


@dataclass(frozen=True)
class SynthSummary:
    """What was written: the layout, the number of films, and how many of them have masks."""

    layout: str
    images: int
    with_mask: int


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
    _require_empty(out)
    _write_all(partial(_write_jsrt_film, out, size, seed), count, progress)
    return SynthSummary("jsrt", count, count)


def write_pairs(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write phantoms as PNG films ``images/phantom0001.png`` and masks of both lungs ``masks/phantom0001.png``.

    Parameters are those of `write_jsrt`; `size` is that of both (512 where None).
    """
    _require_empty(out)
    _write_all(partial(_write_pair, out, size or _PAIRS_SIDE, seed), count, progress)
    return SynthSummary("pairs", count, count)


LAYOUTS = {"jsrt": write_jsrt, "pairs": write_pairs}


def jsrt_name(number: int) -> str:
    """Name phantom `number` (from 0): the share of films with a nodule is kept in every part of the numbering."""
    nodules_before = number * _NODULES // _FILMS
    if (number + 1) * _NODULES // _FILMS > nodules_before:
        return f"JPCLN{nodules_before + 1:03d}"
    return f"JPCNN{number - nodules_before + 1:03d}"


def _write_jsrt_film(out: Location, size: int | None, seed: int, number: int) -> None:
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
        (folder / f"{name}.png").write_bytes(encode_png(_eight_bits(phantom.image)))


def _write_pair(out: Location, size: int, seed: int, number: int) -> None:
    phantom = draw_phantom(np.random.default_rng([seed, number]), size)
    lungs = phantom.masks["left lung"] | phantom.masks["right lung"]
    name = f"phantom{number + 1:04d}.png"
    (out / "masks" / name).write_bytes(encode_png(lungs.astype(np.uint8) * np.uint8(255)))
    (out / "images" / name).write_bytes(encode_png(_eight_bits(phantom.image)))


def _eight_bits(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(image, alpha=255), np.uint8)


def _write_all(write: Callable[[int], None], count: int, progress: Progress) -> None:
    """Write films 0 to count - 1, in several processes where it pays."""
    # Twice as many as cores: every second one waits for the disk or the network.
    processes = min(2 * (os.cpu_count() or 1), count // _FEW_FILMS)
    if processes < 2:
        _report(map(write, range(count)), progress)
        return
    # A forked copy of a process that has S3 connections or threads may hang; a fresh one does not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        _report(pool.map(write, range(count), chunksize=4), progress)


def _report(written: Iterable[None], progress: Progress) -> None:
    for _ in written:
        progress(1)


def _require_empty(out: Location) -> None:
    if out.exists() and (not out.is_dir() or out.list()):
        raise DataError(f"{out} is not empty", "choose a new folder, or empty this one")
