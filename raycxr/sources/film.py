"""What a source tells about its films, the same for every data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MaskPart:
    """One mask file of a film and the structure that it shows; a structure may have several parts."""

    structure: str
    uri: str


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
        Films of one patient never lie on both sides of a split.
    labels : dict of str to int
        What is known about the whole film.
    field_width_mm : float or None
        Width of the imaged field, whatever the number of pixels.
    split : str or None
        `train`, `validation` or `test` where the source gives one.
    """

    id: str
    uri: str
    parts: tuple[MaskPart, ...]
    annotated: bool
    patient: str
    labels: dict[str, int]
    field_width_mm: float | None
    split: str | None


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
        """Find all films by listing folders, without opening a file.

        Raises
        ------
        DataError
            If a folder is missing or holds no film.
        """

    def decode(self, film: Film, data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the stored pixel values of a film, shape (H, W), turned so that bone is bright and lungs dark.

        Raises
        ------
        DataError
            If the data are damaged or no such film.
        """
