"""What a source tells about its films, the same for every data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raycxr.xray.run_length import RunLengths


@dataclass(frozen=True)
class MaskPart:
    """One mask of a film and the structure that it shows; a structure may have several parts, which are joined.

    Parameters
    ----------
    structure : str
        One of the source's structures.
    uri : str
        The mask file, or the table that holds its run lengths.
    run_lengths : RunLengths or None
        The mask itself where it comes from a table; None where `uri` is a picture.
    """

    structure: str
    uri: str
    run_lengths: RunLengths | None = None


@dataclass(frozen=True)
class Film:
    """One film as it lies on disk.

    Parameters
    ----------
    id : str
        Unique within the source.
    uri : str
        The image file.
    parts : tuple of MaskPart
        Empty where the film is not annotated.
    annotated : bool
        Whether there are masks. An annotated film may show nothing in them.
    patient : str
        Films of one patient never lie on both sides of a split. Where the file itself tells, see `Decoded`.
    labels : dict of str to int
        What is known about the whole film.
    field_width_mm : float or None
        Width of the imaged field, whatever the number of pixels.
    split : str or None
        `train`, `validation` or `test` where the source gives one.
    source : str or None
        The data set that it comes from, where a layout holds several; None: the layout's name counts.
    """

    id: str
    uri: str
    parts: tuple[MaskPart, ...]
    annotated: bool
    patient: str
    labels: dict[str, int]
    field_width_mm: float | None
    split: str | None
    source: str | None = None


@dataclass(frozen=True)
class Decoded:
    """What a film's file holds.

    Parameters
    ----------
    pixels : uint8 or uint16 array (H, W)
        Stored values, turned so that bone is bright and lungs dark.
    patient : str or None
        Keyed hash of the patient whom the file names; None: `Film.patient` counts.
    pixel_mm : float or None
        Distance of pixels that the file tells; None: `Film.field_width_mm` counts.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    patient: str | None = None
    pixel_mm: float | None = None


@dataclass(frozen=True)
class Reject:
    """A file that does not become a sample: which, why (a short fixed word) and the details for the user."""

    original: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Listing:
    """All films of a source, sorted by id, and the files that were refused by their names alone."""

    films: tuple[Film, ...]
    rejects: tuple[Reject, ...]


class Source(Protocol):
    """A data set as it lies on disk. Sources travel to Ray workers, so they hold nothing but their settings."""

    @property
    def structures(self) -> tuple[str, ...]:
        """Structures that the masks show, in the order of their bits."""

    @property
    def decoder(self) -> str:
        """What decodes the films, with versions."""

    def list(self) -> Listing:
        """Find all films by listing folders and reading tables, without opening a film.

        Raises
        ------
        DataError
            If a folder is missing or holds no film.
        """

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Return what the bytes of a film's file hold.

        Raises
        ------
        RefusedFilmError
            If the film is whole, but none that can become a sample.
        DataError
            If the data are damaged or no such film.
        """
