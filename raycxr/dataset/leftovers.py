"""What killed ingests leave behind, and how a finished one clears it away."""

from __future__ import annotations

from raycxr.dataset.generation import PREVIOUS
from raycxr.dataset.manifest import Manifest
from raycxr.dataset.shard_task import PARTS
from raycxr.storage.location import Location

SHARD_FOLDERS = ("shards", "masks")


def find_unfinished(out: Location) -> list[Location]:
    """Files that writers had not finished when they were killed.

    Asked for before an ingest writes anything, so that none of them belongs to a writer at work.
    """
    folders = [out, *(out / name for name in (*SHARD_FOLDERS, PARTS))]
    return [file for folder in folders if folder.is_dir() for file in folder.unfinished()]


def clear_leftovers(out: Location, manifest: Manifest, unfinished: list[Location]) -> None:
    """Delete all that is no part of a published data set.

    Beside unfinished files these are notes, what was set aside, and shards of a plan that was given up because the
    source or the films per shard had changed when a killed ingest went on.
    """
    (out / PARTS).delete_tree()
    (out / PREVIOUS).delete_tree()
    named = {out / entry.name for entry in manifest.shards + manifest.masks}
    folders = [out / name for name in SHARD_FOLDERS if (out / name).is_dir()]
    strange = [file for folder in folders for file in folder.list() if file not in named]
    for file in strange + unfinished:
        file.delete_tree()
        file.delete()
