"""Masks as run lengths: the text form in which competitions hand out and ask for masks.

Pixels are numbered column by column, from the top left downwards. Two forms are in use:

* relative (SIIM-ACR 2019): every start counts from the end of the run before it, the first from the first pixel;
* absolute (most other Kaggle competitions): every start is a pixel's number, the first pixel being 1.

An empty mask is written ``-1``, an empty text means the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.errors import DataError
from raycxr.number_text import count

Form: TypeAlias = Literal["relative", "absolute"]
EMPTY = "-1"


@dataclass(frozen=True)
class RunLengths:
    """A mask of one structure as run lengths, with the size (pixels) that the text does not tell."""

    text: str
    height: int
    width: int
    form: Form = "relative"

    def decode(self) -> NDArray[np.bool_]:
        """Return the mask; see `decode_run_lengths`."""
        return decode_run_lengths(self.text, self.height, self.width, self.form)


def decode_run_lengths(text: str, height: int, width: int, form: Form = "relative") -> NDArray[np.bool_]:
    """Return the mask, shape (height, width), that run lengths describe.

    Raises
    ------
    DataError
        If the text holds anything but whole numbers, an odd number of them, a run without a pixel, one that overlaps
        another, or one that ends beyond the last pixel.
    """
    numbers = _numbers(text)
    mask = np.zeros(height * width, dtype=bool)
    # Sums of numbers that are larger than the mask itself might not fit 64 bits.
    reached = int(numbers.max(initial=0))
    if reached <= mask.size:
        begins, ends = _runs(numbers, form)
        reached = int(ends.max(initial=0))
    if reached > mask.size:
        raise DataError(
            f"run lengths reach pixel {reached} of {mask.size}",
            f"check that the mask has {width}x{height} pixels and the run lengths are {form}",
        )
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        mask[begin:end] = True
    # Rows one after the other, since all that follows goes through the mask row by row.
    return np.asarray(cv2.transpose(mask.reshape(width, height).view(np.uint8))).view(np.bool_)


def encode_run_lengths(mask: NDArray[np.bool_], form: Form = "relative") -> str:
    """Return the run lengths of a mask of shape (H, W); its longest runs, hence the shortest text."""
    # A pixel on either side, so that runs at the very first and the very last pixel have both edges, too.
    column_wise = np.pad(cv2.transpose(mask.view(np.uint8)).ravel(), 1)
    edges = np.flatnonzero(column_wise[1:] != column_wise[:-1])
    begins, ends = edges[::2], edges[1::2]
    if not len(begins):
        return EMPTY
    starts = begins + 1 if form == "absolute" else begins - np.concatenate(([0], ends[:-1]))
    return " ".join(map(str, np.column_stack([starts, ends - begins]).ravel().tolist()))


def _numbers(text: str) -> NDArray[np.int64]:
    words = text.split()
    if words in ([], [EMPTY]):
        return np.zeros(0, np.int64)
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        strange = next((word for word in words if not word.lstrip("-").isdecimal()), words[0])
        raise DataError(f"run lengths hold {strange[:20]!r}, which is no whole number", "mend the table") from None
    if len(numbers) % 2:
        raise DataError(f"run lengths are {count(len(numbers), 'number')}, pairs were expected", "mend the table")
    return numbers


def _runs(numbers: NDArray[np.int64], form: Form) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel of every run, from 0, and the one behind its last."""
    starts, lengths = numbers[::2], numbers[1::2]
    if len(lengths) and lengths.min() < 1:
        raise DataError(f"run lengths hold a run of {lengths.min()} pixels", "mend the table")
    if form == "relative":
        ends = np.cumsum(numbers)[1::2]
        begins = ends - lengths
        overlapping = starts < 0
    else:
        begins = starts - 1
        ends = begins + lengths
        overlapping = begins < np.concatenate(([0], ends[:-1]))
    if overlapping.any():
        raise DataError(
            f"run {int(overlapping.argmax()) + 1} begins before the end of the one before it",
            f"check that the run lengths are {form}",
        )
    return begins, ends
