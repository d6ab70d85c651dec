"""What a data set holds before an ingest adds to it.

While the new tables take the place of the old ones there is no manifest, so that no reader takes new rows for part of
the old data set. The old manifest and index are set aside first; an ingest that was killed in between finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raycxr.dataset.manifest import (
    INDEX,
    INDEX_SCHEMA,
    MANIFEST,
    Manifest,
    ShardEntry,
    read_index,
    read_manifest,
    write_rows,
)
from raycxr.storage.location import Location

PREVIOUS = "previous"


@dataclass(frozen=True)
class Generation:
    """A finished data set; without a manifest, an empty one."""

    manifest: Manifest | None
    index: list[dict[str, Any]]

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
            return Generation(read_manifest(place), read_index(place))
    return Generation(None, [])


def set_aside(out: Location, generation: Generation) -> None:
    """Keep a generation, and take its manifest away."""
    if generation.manifest is None:
        return
    write_rows(out / PREVIOUS / INDEX, generation.index, INDEX_SCHEMA)
    (out / PREVIOUS / MANIFEST).write_text(generation.manifest.model_dump_json(indent=2))
    (out / MANIFEST).delete()
