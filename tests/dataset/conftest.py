"""What every ingest must leave, whatever went wrong on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from raycxr.dataset.manifest import read_index, read_manifest, read_rejects
from raycxr.dataset.shard import open_verified
from raycxr.storage.location import Location

CheckWhole = Callable[[Location, Collection[str], int], None]


@pytest.fixture
def check_whole() -> CheckWhole:
    """Assert that a data set holds exactly the good films, accounts for all that was listed and is all there is."""
    return _check_whole


def _check_whole(out: Location, good: Collection[str], listed: int) -> None:
    manifest, index, rejects = read_manifest(out), read_index(out), read_rejects(out)
    ids = [row["id"] for row in index]
    assert sorted(ids) == sorted(good)
    counts = manifest.counts
    assert (counts.listed, counts.images, counts.rejected) == (listed, len(index), len(rejects))
    assert counts.images + counts.rejected == counts.listed
    tables = [open_verified(out / entry.name, entry.sha256).read(["id"]) for entry in manifest.shards]
    assert [film for table in tables for film in table["id"].to_pylist()] == ids
    assert [(row["shard"], row["row"]) for row in index] == [
        (shard, row) for shard, table in enumerate(tables) for row in range(len(table))
    ]
    masked = [open_verified(out / entry.name, entry.sha256).read(["id"]) for entry in manifest.masks]
    assert [film for table in masked for film in table["id"].to_pylist()] == [
        row["id"] for row in index if row["annotated"]
    ]
    names = {entry.name for entry in manifest.shards + manifest.masks}
    expected = {"manifest.json", "index.parquet", "rejects.parquet", *names}
    assert _all_names(out) == expected
    assert all("\n" not in row["detail"] and row["detail"] and row["original"] for row in rejects)


def _all_names(out: Location) -> set[str]:
    """Names of all files and of empty folders, hidden ones too."""
    if out.is_local:
        root = out.local_path
        found = [path for path in root.rglob("*") if path.is_file() or not any(path.iterdir())]
        return {str(path.relative_to(root)) for path in found}
    filesystem, path = out.filesystem()
    import pyarrow.fs

    entries = filesystem.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    return {entry.path.removeprefix(f"{path}/") for entry in entries if entry.is_file}
