"""Folders that are whole or refused: the files first, then a marker with the SHA-256 of each.

A reader that asks for the marker never takes a half-written folder, or one that is being replaced, for a whole
one; a reader that fetches is certain of every byte.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from raycxr.errors import DataError, UsageError
from raycxr.storage.failures import local_failures
from raycxr.storage.location import Location

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PublishedFile:
    """What a marker says of a file: its SHA-256, and its size in bytes."""

    sha256: str
    size: int


def sha256_of(content: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a local file, as 64 hexadecimal digits."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with local_failures("read", content), content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(files: Mapping[str, bytes | Path], destination: Location, marker: str, extra: Mapping[str, object]) -> None:
    """Write a folder so that it is whole exactly when its marker is there.

    Parameters
    ----------
    files : mapping
        Relative name -> content, or the local file that holds it.
    destination : Location
        The folder. A marker that is already there is taken away first, other files are left or replaced.
    marker : str
        Name of the marker: JSON ``{"files": {name: {"sha256": ..., "bytes": ...}}, **extra}``.
    extra : mapping
        What else the marker says; must be JSON and not hold ``files``.

    Raises
    ------
    UsageError
        If a name leads out of the folder or is the marker's own.
    StorageError
        If something cannot be read or written; the folder then has no marker.
    """
    if "files" in extra:
        raise UsageError("a marker's 'files' are computed, not given", "use another key")
    for name in files:
        if not _is_inside(name) or name == marker:
            raise UsageError(f"{name!r} cannot name a file of {destination}", "give a relative name without '..'")
    listed = {name: {"sha256": sha256_of(content), "bytes": _size_of(content)} for name, content in files.items()}
    document = json.dumps({"files": listed, **extra}, indent=2)
    (destination / marker).delete()
    for name, content in files.items():
        if isinstance(content, bytes):
            (destination / name).write_bytes(content)
        else:
            (destination / name).copy_from(content)
    (destination / marker).write_text(document + "\n")


def read_marker(location: Location, marker: str) -> dict[str, object]:
    """Return the marker of a published folder.

    Raises
    ------
    DataError
        If there is none, or if it is not what `publish` writes.
    """
    place = location / marker
    if not place.is_file():
        raise DataError(
            f"{location} has no {marker}: half-written, or not what it should be",
            "check the path; if it is right, write it again",
        )
    return _parse(place.read_text(), place)


def files_of(marker: dict[str, object]) -> dict[str, PublishedFile]:
    """Return name -> file of a marker that `read_marker` has returned."""
    files = marker["files"]
    assert isinstance(files, dict)
    return {str(name): PublishedFile(str(entry["sha256"]), entry["bytes"]) for name, entry in files.items()}


def _parse(text: str, place: Location) -> dict[str, object]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{place} is not JSON (line {error.lineno})", "write the folder again") from error
    if not isinstance(document, dict) or not isinstance(document.get("files"), dict):
        raise DataError(f"{place} lists no files", "write the folder again")
    for name, entry in document["files"].items():
        if not _is_inside(name):
            raise DataError(f"{place} names {name!r}, which leads out of its folder", "do not trust this folder")
        if not isinstance(entry, dict) or not _SHA256.fullmatch(str(entry.get("sha256"))):
            raise DataError(f"{place} has no sha256 for {name!r}", "write the folder again")
        if type(entry.get("bytes")) is not int or entry["bytes"] < 0:
            raise DataError(f"{place} has no number of bytes for {name!r}", "write the folder again")
    return document


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and "/".join(parts) == name and ".." not in parts and not name.startswith("/")


def _size_of(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
