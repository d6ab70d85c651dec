"""What a data set holds before an ingest adds to it.

While the new tables take the place of the old ones there is no manifest, so that no reader takes new rows for part of
the old data set. The old manifest and tables are set aside first; an ingest that was killed in between finds them, and
one that cannot write the new ones puts them back.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from raycxr.dataset.manifest import (
    INDEX,
    INDEX_SCHEMA,
    MANIFEST,
    REJECT_SCHEMA,
    REJECTS,
    Manifest,
    ShardEntry,
    read_index,
    read_manifest,
    read_rejects,
    write_rows,
)
from raycxr.errors import StorageError
from raycxr.storage.location import Location

PREVIOUS = "previous"


@dataclass(frozen=True)
class Generation:
    """A finished data set; without a manifest, an empty one."""

    manifest: Manifest | None
    index: list[dict[str, Any]]
    rejects: list[dict[str, Any]]

    @property
    def films(self) -> frozenset[str]:
        """Ids of the films."""
        return frozenset(row["id"] for row in self.index)

    @property
    def shards(self) -> tuple[ShardEntry, ...]:
        """Shards of films."""
        return () if self.manifest is None else self.manifest.shards

    @property
    def masks(self) -> tuple[ShardEntry, ...]:
        """Shards of masks at their original size."""
        return () if self.manifest is None else self.manifest.masks


def read_generation(out: Location) -> Generation:
    """Read what is there, or what a killed ingest has set aside.

    Raises
    ------
    DataError
        It is damaged, or of another format.
    """
    for place in (out, out / PREVIOUS):
        if (place / MANIFEST).exists():
            return Generation(read_manifest(place), read_index(place), read_rejects(place))
    return Generation(None, [], [])


def read_current_manifest(out: Location) -> Manifest | None:
    """Return the manifest in force, where there is one."""
    places = (out, out / PREVIOUS)
    return next((read_manifest(place) for place in places if (place / MANIFEST).exists()), None)


def set_aside(out: Location, generation: Generation) -> None:
    """Keep a generation, and take its manifest away."""
    if generation.manifest is None:
        return
    _write(out / PREVIOUS, generation, generation.manifest)
    (out / MANIFEST).delete()


def put_back(out: Location, generation: Generation) -> None:
    """Publish again what was set aside, as far as the storage allows; else the next ingest finds it there."""
    if generation.manifest is None:
        return
    with suppress(StorageError):
        # Makes room for the old ones on a disk that is full.
        (out / INDEX).delete()
        (out / REJECTS).delete()
        _write(out, generation, generation.manifest)
        (out / PREVIOUS).delete_tree()


def _write(place: Location, generation: Generation, manifest: Manifest) -> None:
    write_rows(place / INDEX, generation.index, INDEX_SCHEMA)
    write_rows(place / REJECTS, generation.rejects, REJECT_SCHEMA)
    (place / MANIFEST).write_text(manifest.model_dump_json(indent=2))
