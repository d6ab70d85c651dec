"""What is to be predicted: files, folders and data sets, as a list of films with names of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from raycxr.dataset.manifest import MANIFEST, read_index
from raycxr.errors import DataError, UsageError
from raycxr.number_text import count
from raycxr.storage.location import Location

PICTURES = (".png", ".jpg", ".jpeg", ".gif")
DICOM = (".dcm", ".dicom")
RAW = (".img",)
# In a folder, a file without a suffix is tried as well: many archives name DICOM files by their identifiers.
_IN_FOLDERS = ("", *PICTURES, *DICOM, *RAW)


@dataclass(frozen=True)
class InputFilm:
    """A film to be predicted.

    Attributes
    ----------
    name : str
        What its results are called: a relative path without suffix, unique among all.
    uri : str
        Its file; of a film of a data set, the data set.
    row : dict or None
        Row of the data set's index; None for a file.
    """

    name: str
    uri: str
    row: dict[str, Any] | None = None


def list_inputs(uris: Sequence[str]) -> list[InputFilm]:
    """Find all films, sorted by name.

    Parameters
    ----------
    uris : sequence of str
        Files, folders or prefixes (searched to any depth), and data sets (all of their films).

    Raises
    ------
    DataError
        A place is missing or holds no film.
    UsageError
        Two films would have the same name.
    """
    films: dict[str, InputFilm] = {}
    for uri in uris:
        found = list(_films(Location(uri)))
        if not found:
            raise DataError(f"{uri} holds no film", f"expected were files ending with {', '.join(_IN_FOLDERS[1:])}")
        for film in found:
            other = films.setdefault(film.name, film)
            if other.uri != film.uri:
                raise UsageError(
                    f"{other.uri} and {film.uri} would both be named {film.name}", "predict them with an --out each"
                )
    return sorted(films.values(), key=lambda film: film.name)


def _films(place: Location) -> Iterator[InputFilm]:
    if (place / MANIFEST).exists():
        for row in read_index(place):
            yield InputFilm(row["id"], place.uri, row)
    elif place.is_dir():
        names: dict[str, str] = {}
        for file in place.walk():
            if file.suffix.lower() not in _IN_FOLDERS:
                continue
            inside = file.uri.removeprefix(place.uri).lstrip("/")
            name = str(PurePosixPath(inside).with_suffix(""))
            # Beside a film of the same name, such as a PNG copy, the suffix tells them apart.
            name = inside if name in names else name
            names[name] = inside
            yield InputFilm(name, file.uri)
    elif place.is_file():
        yield InputFilm(place.stem, place.uri)
    else:
        raise DataError(f"there is no {place}", "name a file, a folder or a data set")


def kinds(films: Sequence[InputFilm]) -> str:
    """How many films of which kind there are, in words."""
    of_sets = sum(film.row is not None for film in films)
    files = len(films) - of_sets
    parts = [count(files, "file")] if files else []
    return " and ".join(parts + ([count(of_sets, "film") + " of data sets"] if of_sets else []))
