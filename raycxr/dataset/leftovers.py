"""What killed ingests leave behind, and how a finished one clears it away without touching anything else."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta

from raycxr.dataset.generation import PREVIOUS
from raycxr.dataset.manifest import INDEX, MANIFEST, REJECTS, Manifest
from raycxr.dataset.shard_task import PARTS
from raycxr.errors import DataError, StorageError
from raycxr.storage.location import Location
from raycxr.storage.patience import first_contact

SHARD_FOLDERS = ("shards", "masks")
# After that long nobody is still sending a shard.
LONGEST_UPLOAD = timedelta(hours=1)
# Names that an ingest gives to its files, folder by folder: nothing else is ever deleted.
_SHARD = r"\d{5}-[0-9a-f]{8}"
_TABLES = "|".join(map(re.escape, (MANIFEST, INDEX, REJECTS)))
_OWN_NAMES = {
    "shards": rf"{_SHARD}\.parquet",
    "masks": rf"{_SHARD}\.parquet",
    PARTS: rf"{_SHARD}\.(json|begun)",
    PREVIOUS: _TABLES,
}


def check_own_folder(out: Location) -> None:
    """Refuse a folder for a new data set where its folders hold files of somebody else, such as the source's masks.

    Raises
    ------
    DataError
        Naming one of them.
    """
    for name, own in _OWN_NAMES.items():
        for file in (out / name).list() if (out / name).is_dir() else []:
            if not re.fullmatch(own, file.name):
                raise DataError(f"{file} was written by no ingest", "choose a new or empty folder as ingest.out")


def find_unfinished(out: Location) -> list[Location]:
    """Files that writers had not finished when they were killed.

    Asked for before an ingest writes anything, so that none of them belongs to a writer at work.
    """
    folders = [out, *(out / name for name in (*SHARD_FOLDERS, PARTS))]
    return [file for folder in folders if folder.is_dir() for file in folder.unfinished()]


def clear_leftovers(out: Location, manifest: Manifest, unfinished: list[Location]) -> None:
    """Delete all of our files that are no part of a published data set.

    Beside unfinished files these are notes, what was set aside, and shards of a plan that was given up because the
    source or the films per shard had changed when a killed ingest went on.
    """
    named = {out / entry.name for entry in manifest.shards + manifest.masks}
    for name, own in _OWN_NAMES.items():
        folder = out / name
        if not folder.is_dir():
            continue
        for file in folder.list():
            if re.fullmatch(own, file.name) and file not in named:
                file.delete()
        if name not in SHARD_FOLDERS:
            # An object store has no folder any more when its last object is gone; and another ingest may put a note
            # there at this moment.
            with suppress(StorageError):
                if not folder.list():
                    folder.delete_tree()
    for file in unfinished:
        file.delete_tree()
        file.delete()
    for name in SHARD_FOLDERS:
        # Not every server and not every user's rights know of this, and the data set is whole already.
        with suppress(StorageError), first_contact():
            (out / name).abort_uploads(LONGEST_UPLOAD)
