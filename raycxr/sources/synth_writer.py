"""Writing phantom data sets: what all layouts share."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.errors import DataError
from raycxr.storage.location import Location
from raycxr.storage.patience import first_contact
from raycxr.xray.picture import encode_png

# Below this many films, starting processes takes longer than drawing.
_FEW_FILMS = 16

FilmT = TypeVar("FilmT")
WrittenT = TypeVar("WrittenT")
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class SynthSummary:
    """What was written: the layout, the number of films, and how many have masks that are not empty."""

    layout: str
    images: int
    with_mask: int


def require_empty(out: Location) -> None:
    """Raise a `DataError` if a folder holds anything."""
    with first_contact():
        empty = not out.exists() or (out.is_dir() and not out.list())
    if not empty:
        raise DataError(f"{out} is not empty", "choose a new folder, or empty this one")


def write_films(write: Callable[[FilmT], WrittenT], films: Sequence[FilmT], progress: Progress) -> list[WrittenT]:
    """Write films, in several processes where it pays.

    Parameters
    ----------
    write : callable
        Writes one film; a function of a module or a `functools.partial` of one.
    films : sequence
        What `write` gets, film by film.
    progress : callable
        Called after every film with the number of those written, and of all.

    Returns
    -------
    list
        What `write` returned, in the order of the films.
    """
    # Twice as many as cores: every second one waits for the disk or the network.
    processes = min(2 * (os.cpu_count() or 1), len(films) // _FEW_FILMS)
    if processes < 2:
        return _collect(map(write, films), len(films), progress)
    # A forked copy of a process that has S3 connections or threads may hang; a fresh one does not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start_writer) as pool:
        return _collect(pool.map(write, films, chunksize=4), len(films), progress)


def spread(number: int, chosen: int, total: int) -> bool:
    """Whether film `number` (from 0) is one of the chosen, which are spread evenly: `chosen` of every `total`."""
    return chosen_before(number + 1, chosen, total) > chosen_before(number, chosen, total)


def chosen_before(number: int, chosen: int, total: int) -> int:
    """Return how many films before film `number` are chosen; see `spread`."""
    return number * chosen // total


def eight_bits(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return grey levels 0 to 1 as 0 to 255; what lies beyond is cut off."""
    return np.asarray(cv2.convertScaleAbs(np.clip(image, 0, 1), alpha=255), np.uint8)


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Write a mask of shape (H, W) as a PNG of 0 and 255."""
    return encode_png(mask.astype(np.uint8) * np.uint8(255))


def _start_writer() -> None:
    cv2.setNumThreads(1)
    # Ctrl-C reaches every process of a terminal: the one that waits for this one deals with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collect(written: Iterable[WrittenT], total: int, progress: Progress) -> list[WrittenT]:
    results = []
    for result in written:
        results.append(result)
        progress(len(results), total)
    return results
