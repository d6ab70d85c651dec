"""The node's shard cache: verified shards as Arrow files that every process of the node maps into memory.

Parquet is the right form to store and to send, but picking films from it in random order would decode whole row
groups for each. The cache unpacks every shard once per node, under the name of its sha256, so that all runs over the
same data share it, and a film costs one copy of its bytes. Deleting the folder is always safe.

A shard is unpacked when it is first needed, by whichever process of the node comes first: training begins with the
shards of its first batches, and the others follow while it goes on.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawArray
from pathlib import Path

import pyarrow as pa

from raycxr.dataset.codec import decode_image, encode_image
from raycxr.dataset.manifest import Manifest, ShardEntry
from raycxr.dataset.shard import open_verified
from raycxr.errors import RaycxrError, StorageError
from raycxr.number_text import byte_size, count
from raycxr.storage.location import Location

_REMEDY = "set dataset.cache or RAYCXR_CACHE to a folder with room"


def cache_folder(configured: str | None) -> Path:
    """Folder of the cache: `dataset.cache`, else $RAYCXR_CACHE, else below the user's own cache folder."""
    chosen = configured or os.environ.get("RAYCXR_CACHE") or "~/.cache/raycxr/shards"
    return Path(chosen).expanduser()


class CachedShards(Sequence[Path]):
    """Arrow files of all shards of a data set, in order, each made when it is first asked for.

    Parameters
    ----------
    dataset : Location
    manifest : Manifest
        Of the data set.
    folder : Path
        See `cache_folder`.

    Attributes
    ----------
    size : int
        Width and height of the films in pixels.
    wide : bool
        Whether there may be films of 16 bits.

    Raises
    ------
    StorageError
        The disk has no room for the shards that the cache does not have.
    """

    def __init__(self, dataset: Location, manifest: Manifest, folder: Path) -> None:
        self.dataset, self.entries, self.folder = dataset, manifest.shards, folder
        self.size = manifest.geometry.size
        # Films of 16 bits are left by this rule alone.
        self.wide = manifest.intensity.rule == "keep"
        # Shards that were found whole; loading processes, which are forked, share it with the one that trains.
        self.whole = RawArray("b", len(self.entries))
        self._check_room()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, shard: int) -> Path:  # type: ignore[override]
        """File of a shard, made where it does not exist yet.

        A local shard is checked against its sha256 even when the cache has it: that costs a second per gigabyte and
        tells of a damaged data set. A remote one is fetched once.

        Raises
        ------
        DataError
            The shard is missing or damaged.
        StorageError
            The cache cannot be written.
        """
        entry = self.entries[shard]
        if not self.whole[shard]:
            with self._claimed(entry, wait=True):
                self._complete(shard)
        return _place(self.folder, entry)

    def fill_behind(self, order: Sequence[int]) -> None:
        """Make the files of shards in an order while this process does something else."""
        threading.Thread(target=self.fill, args=(order,), daemon=True).start()

    def fill(self, order: Iterable[int]) -> None:
        """Make the files of shards in an order, but those that another process is making.

        What fails is left to whoever needs that shard, and told there.
        """
        for shard in order:
            if self.whole[shard]:
                continue
            try:
                with self._claimed(self.entries[shard], wait=False) as claimed:
                    if claimed:
                        self._complete(shard)
            except RaycxrError:
                return

    def missing(self) -> list[ShardEntry]:
        """Shards that the cache does not have."""
        return [entry for entry in self.entries if not _place(self.folder, entry).exists()]

    def missing_bytes(self) -> int:
        """How much the cache will grow by, estimated from the manifest."""
        # A film's pixels and a byte of mask for each.
        return sum(entry.rows for entry in self.missing()) * self.size**2 * (3 if self.wide else 2)

    def announcement(self) -> str | None:
        """What will be unpacked, in a line; None where the cache has everything."""
        missing = self.missing()
        if not missing:
            return None
        size = byte_size(self.missing_bytes())
        return f"node cache {self.folder}: {count(len(missing), 'shard')} to unpack, about {size}, while training runs"

    def _check_room(self) -> None:
        needed = self.missing_bytes()
        existing = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        if needed > free:
            raise StorageError(
                f"the node cache {self.folder} needs about {byte_size(needed)} more, and {byte_size(free)} are free",
                _REMEDY,
            )

    def _complete(self, shard: int) -> None:
        # Another process of this run may have done it while this one waited.
        if not self.whole[shard]:
            _make(self.dataset, self.entries[shard], self.folder)
            self.whole[shard] = 1

    @contextmanager
    def _claimed(self, entry: ShardEntry, wait: bool) -> Iterator[bool]:
        with _writing(self.folder), _locked(_place(self.folder, entry).with_suffix(".lock"), wait) as claimed:
            yield claimed


def map_shard(path: Path) -> pa.Table:
    """Map a cached shard into memory: nothing is read until a film is asked for."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _place(folder: Path, entry: ShardEntry) -> Path:
    return folder / f"{entry.sha256}.arrow"


def _make(dataset: Location, entry: ShardEntry, folder: Path) -> None:
    """Check a shard, and unpack it where the cache does not have it; its lock is held."""
    target = _place(folder, entry)
    if target.exists() and not dataset.is_local:
        return
    shard = open_verified(dataset / entry.name, entry.sha256)
    if not target.exists():
        _write_arrow(_unpacked(shard.read()), target)


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
    # One name for all, as the lock is held: what a killed process has left is written over.
    partial = target.with_suffix(".partial")
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make the folder, and tell in one line what goes wrong in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write the node cache {folder}: {reason}", _REMEDY) from None


@contextmanager
def _locked(path: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock; without waiting, say whether it could be had."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
