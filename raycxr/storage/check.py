"""Whether a place can be used, asked before a run starts rather than after its first epoch."""

from __future__ import annotations

import secrets

from raycxr.errors import StorageError
from raycxr.storage.local import TEMPORARY_PREFIX
from raycxr.storage.location import Location
from raycxr.storage.patience import first_contact


def check_writable(location: Location) -> None:
    """Put, get, list and delete a small hidden file inside a folder.

    Parameters
    ----------
    location : Location
        The folder; a local one is made if it is missing.

    Raises
    ------
    StorageError
        If a right is missing or the place cannot be reached, which is told after 15 s.
    """
    probe = location / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with first_contact():
            _try_all(probe)
    except StorageError as error:
        # The user knows the folder, not the probe.
        raise StorageError(_without(probe, location, error.message), error.remedy) from error


def _try_all(probe: Location) -> None:
    content = secrets.token_bytes(16)
    file = probe / "probe"
    file.write_bytes(content)
    try:
        if file.read_bytes() != content:
            raise StorageError(f"{file} does not return what was written", "choose another place")
        if file not in probe.list():
            raise StorageError(f"{probe} does not list what was written", "choose another place")
    finally:
        file.delete()
        probe.delete_tree()


def _without(probe: Location, location: Location, message: str) -> str:
    for inner in (probe / "probe", probe):
        message = message.replace(inner.uri, location.uri)
    return message
