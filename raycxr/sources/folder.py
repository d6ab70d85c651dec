"""Folders of a source: what must be there, and errors that say what was expected."""

from __future__ import annotations

from raycxr.errors import DataError
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


def with_suffix(files: list[Location], suffixes: tuple[str, ...]) -> list[Location]:
    """Return the files with one of the suffixes (in lower case), whatever the case of theirs."""
    return [file for file in files if file.suffix.lower() in suffixes]
