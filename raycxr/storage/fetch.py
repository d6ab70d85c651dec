"""Bringing a published folder to this machine: verified, whole or not at all, and continued where it broke off.

* Files arrive in a hidden folder beside the destination, which takes the destination's place when all are verified.
  Its name follows from the destination, the source and the marker: whoever asks for the same again goes on from what
  is there, and what has been replaced at the source is never mixed.
* The SHA-256 of every file is taken from the disk when it is whole. Where it went on from what a killed process has
  left and does not fit, it is fetched once more from its beginning before the source is called damaged.
* A process holds the lock of its hidden folder. Another that wants the same waits, and then finds it there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from raycxr.errors import DataError, StorageError
from raycxr.storage.failures import MissingError, local_failures
from raycxr.storage.local import TEMPORARY_PREFIX
from raycxr.storage.location import Location
from raycxr.storage.publish import PublishedFile, files_of, read_marker, sha256_of

# What a hidden folder holds: the lock, and the folder that takes the destination's place.
_LOCK, _FILES = "lock", "files"
_SMALL_BYTES = 1 << 20


def fetch_verified(
    source: Location, marker: str, destination: Path, tell: Callable[[str], None] = lambda line: None
) -> dict[str, object]:
    """Copy a published folder to this machine, check every file, and only then let it appear.

    Parameters
    ----------
    source : Location
        The folder that `publish` wrote.
    marker : str
        Name of its marker, which is copied too.
    destination : Path
        The new folder. One that holds the same content already is left as it is.
    tell : callable
        Told, in one line, that the fetch goes on from an earlier one or waits for another.

    Returns
    -------
    dict
        The marker.

    Raises
    ------
    DataError
        If the source has no marker, or a file of it differs from its checksum.
    StorageError
        If the destination holds something else, a file of the source is missing or was replaced meanwhile, or
        something cannot be read or written. What had arrived before storage failed is kept for the next call.
    """
    document = read_marker(source, marker)
    destination = Path(destination).absolute()
    if _holds(destination, document, marker):
        return document
    _refuse_occupied(destination)
    with _claimed(_hidden(source, document, destination), destination, tell) as claimed:
        # Another process may have brought it while this one waited.
        if not _holds(destination, document, marker):
            arriving = claimed / _FILES
            if arriving.exists():
                tell("goes on from what an earlier attempt has left")
            _fetch_all(source, document, marker, arriving)
            Location(arriving / marker).write_text(json.dumps(document, indent=2) + "\n")
            _move_into_place(arriving, destination, document, marker)
    _remove_outdated(destination)
    return document


def _fetch_all(source: Location, document: dict[str, object], marker: str, arriving: Path) -> None:
    for name, expected in files_of(document).items():
        found = _fetch(source / name, arriving / name, expected)
        if found == expected.sha256:
            continue
        if read_marker(source, marker)["files"] != document["files"]:
            raise StorageError(f"{source} was replaced while it was fetched", "fetch it again")
        raise DataError(
            f"{source / name} is damaged: its sha256 is {found[:12]}..., not {expected.sha256[:12]}...",
            "write the folder again",
        )


def _fetch(original: Location, copy: Path, expected: PublishedFile) -> str:
    """Complete the copy of a file and return its SHA-256; once more from the beginning where it went on in vain."""
    if expected.size <= _SMALL_BYTES:
        # One request to S3, which need not be asked for the size before.
        Location(copy).write_bytes(original.read_bytes())
        return sha256_of(copy)
    with local_failures("write", copy):
        copy.parent.mkdir(parents=True, exist_ok=True)
        goes_on = copy.exists()
    original.continue_to(copy)
    found = sha256_of(copy)
    if found != expected.sha256 and goes_on:
        Location(copy).delete()
        original.continue_to(copy)
        found = sha256_of(copy)
    return found


def _hidden(source: Location, document: dict[str, object], destination: Path) -> Path:
    """Folder in which a fetch arrives; its name has a part for the destination and one for what is fetched."""
    content = hashlib.sha256(f"{source}\n{json.dumps(document, sort_keys=True)}".encode()).hexdigest()
    return destination.with_name(f"{_prefix(destination)}{content[:16]}")


def _prefix(destination: Path) -> str:
    return f"{TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:8]}-"


@contextmanager
def _claimed(folder: Path, destination: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """Make a folder that is this process's own while the body runs.

    It stays, for the next call, where the body is broken off: by the end of the process or by storage that fails.
    """
    with local_failures("write", destination):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = _lock(folder, lambda: tell(f"waits for another fetch into {destination}"))
        except OSError:
            # Some network file systems know no locks: nothing can be shared there, nor continued.
            lock = None
            folder = folder.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
            folder.mkdir()
    broken_off = False
    try:
        yield folder
    except (DataError, MissingError):  # no second call would fare better
        raise
    except BaseException:  # Ctrl-C, too, must leave what has arrived to the next call
        broken_off = True
        raise
    finally:
        if lock is None or not (broken_off and (folder / _FILES).exists()):
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            lock.close()


def _lock(folder: Path, tell_waiting: Callable[[], None]) -> IO[bytes]:
    """Make a folder and lock it, as soon as no other process does."""
    told = False
    while True:
        folder.mkdir(exist_ok=True)
        try:
            lock = (folder / _LOCK).open("ab")
        except FileNotFoundError:  # its owner has just removed the folder
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                tell_waiting()
            told = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            lock.close()
            raise
        # Its owner may have removed the folder meanwhile, and somebody else have made it anew.
        with suppress(FileNotFoundError):
            if (folder / _LOCK).stat().st_ino == os.fstat(lock.fileno()).st_ino:
                return lock
        lock.close()


def _remove_outdated(destination: Path) -> None:
    """Remove what broken fetches of other content into the same destination have left."""
    for folder in destination.parent.glob(f"{_prefix(destination)}*"):
        with suppress(OSError), (folder / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _holds(folder: Path, document: dict[str, object], marker: str) -> bool:
    """Whether a local folder is already the published one."""
    if not (folder / marker).is_file():
        return False
    try:
        same = read_marker(Location(folder), marker)["files"] == document["files"]
        return same and all(sha256_of(folder / name) == file.sha256 for name, file in files_of(document).items())
    except (DataError, StorageError):
        return False


def _move_into_place(arriving: Path, destination: Path, document: dict[str, object], marker: str) -> None:
    try:
        with local_failures("write", destination):
            arriving.rename(destination)
    except StorageError:
        # Where there are no locks, several processes may fetch the same folder at once: the first one brought it.
        if not _holds(destination, document, marker):
            shutil.rmtree(arriving, ignore_errors=True)
            _refuse_occupied(destination)
            raise


def _refuse_occupied(folder: Path) -> None:
    with local_failures("read", folder):
        occupied = any(folder.iterdir()) if folder.is_dir() else folder.exists()
    if occupied:
        raise StorageError(f"{folder} holds something else already", "name a new folder, or remove this one")
