"""Folders of a source: what must be there, and errors that say what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable

from raycxr.errors import DataError
from raycxr.sources.film import Reject
from raycxr.storage.location import Location

PICTURES = (".png", ".jpg", ".jpeg")


def list_folder(folder: Location, expected: str) -> list[Location]:
    """List a folder that must exist and hold something.

    Parameters
    ----------
    expected : str
        What the folder should hold, for the error message.

    Raises
    ------
    DataError
        If the folder is missing or empty.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}", f"expected there: {expected}")
    children = folder.list()
    if not children:
        raise DataError(f"empty folder: {folder}", f"expected there: {expected}")
    return children


def list_inside(root: Location, name: str, expected: str) -> list[Location]:
    """List the folder `name` inside another one, or that one itself where it holds no such folder."""
    children = list_folder(root, expected)
    return list_folder(root / name, expected) if root / name in children else children


def mask_folder(root: Location, given: str | None, own: tuple[str, ...]) -> Location | None:
    """Return the folder of masks: the one given, else the first of the layout's own folders that lies in `root`."""
    if given is not None:
        return Location(given)
    return next((root / name for name in own if (root / name).is_dir()), None)


def with_suffix(files: Iterable[Location], suffixes: tuple[str, ...]) -> list[Location]:
    """Return the files with one of the suffixes (in lower case), whatever the case of theirs."""
    return [file for file in files if file.suffix.lower() in suffixes]


def by_film(files: Iterable[Location], name: re.Pattern[str], named: str) -> tuple[dict[str, Location], list[Reject]]:
    """Sort files by the film that their names tell.

    Parameters
    ----------
    name : regular expression
        What a whole name without its ending looks like; its one group that matches is the film.
    named : str
        The same in words, for the reject.

    Returns
    -------
    files : dict of str to Location
        Film -> file.
    rejects : list of Reject
        With the reasons `unknown_name` and `duplicate_id` (a second file of a film).
    """
    found: dict[str, Location] = {}
    rejects = []
    for file in files:
        match = name.fullmatch(file.stem)
        if match is None:
            rejects.append(Reject(file.uri, "unknown_name", f"expected was {named}"))
            continue
        film = match[match.lastindex or 0]
        if film in found:
            rejects.append(Reject(file.uri, "duplicate_id", f"{found[film].uri} has the same name"))
        else:
            found[film] = file
    return found, rejects
