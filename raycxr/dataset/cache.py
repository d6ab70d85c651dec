"""The node's shard cache: verified shards as Arrow files that every process of the node maps into memory.

Parquet is the right form to store and to send, but picking films from it in random order would decode whole row
groups for each. The cache unpacks every shard once per node, under the name of its sha256, so that all runs over the
same data share it, and a film costs one copy of its bytes. Deleting the folder is always safe.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from raycxr.dataset.codec import decode_image, encode_image
from raycxr.dataset.manifest import ShardEntry
from raycxr.dataset.shard import open_verified
from raycxr.errors import StorageError
from raycxr.storage.location import Location


def cache_folder(configured: str | None) -> Path:
    """Folder of the cache: `dataset.cache`, else $RAYCXR_CACHE, else below the user's own cache folder."""
    chosen = configured or os.environ.get("RAYCXR_CACHE") or "~/.cache/raycxr/shards"
    return Path(chosen).expanduser()


def cached_shard(dataset: Location, entry: ShardEntry, folder: Path) -> Path:
    """Arrow file of one shard, made where it does not exist yet.

    A local shard is checked against its sha256 even when the cache has it: that costs a second per gigabyte and tells
    of a damaged data set. A remote one is fetched once.

    Raises
    ------
    DataError
        The shard is missing or damaged.
    StorageError
        The cache cannot be written.
    """
    target = folder / f"{entry.sha256}.arrow"
    if target.exists() and not dataset.is_local:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_suffix(".lock")):
            # Another process of this node may have made it while this one waited.
            if target.exists() and not dataset.is_local:
                return target
            shard = open_verified(dataset / entry.name, entry.sha256)
            if not target.exists():
                _write_arrow(_unpacked(shard.read()), target)
    except OSError as error:
        raise StorageError(
            f"cannot write the shard cache {folder}: {error.strerror}",
            "set dataset.cache or RAYCXR_CACHE to a folder with room",
        ) from None
    return target


def map_shard(path: Path) -> pa.Table:
    """Map a cached shard into memory: nothing is read until a film is asked for."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _unpacked(table: pa.Table) -> pa.Table:
    """Films of a shard as raw pixels, so that picking one out of the cache costs no decompression."""
    images, forms = [], []
    for row in range(table.num_rows):
        height, width = table["height"][row].as_py(), table["width"][row].as_py()
        pixels = decode_image(table["image"][row].as_buffer(), table["codec"][row].as_py(), height, width)
        stored, form = encode_image(pixels, "raw")
        images.append(stored)
        forms.append(form)
    for name, values in (("image", images), ("codec", forms)):
        position = table.schema.get_field_index(name)
        table = table.set_column(position, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    return table


def _write_arrow(table: pa.Table, target: Path) -> None:
    partial = target.with_suffix(f".{os.getpid()}")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    partial.replace(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
