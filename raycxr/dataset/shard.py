"""Shards: Parquet files of converted films, and of masks at their original size.

A film is stored as the bytes of its pixels, rows from top to bottom, as they are or compressed without loss (see
`raycxr.dataset.codec`); Parquet tensor columns would store every byte as a 32-bit integer. The mask is one uint8 bit
field per pixel (bit i = class i); null means "not annotated", all zero "annotated as empty".
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raycxr.dataset.codec import decode_image, encode_image
from raycxr.errors import DataError
from raycxr.storage.location import Location

FILM_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("mask", pa.binary()),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("codec", pa.string(), nullable=False),
        pa.field("labels", pa.string(), nullable=False),
    ]
)
MASK_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("mask", pa.binary(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)
# What a reader unpacks at once: up to 64 films, but not so many masks, of which one may have twenty megabytes.
GROUP_ROWS = 64
GROUP_BYTES = 32_000_000


def film_row(
    film_id: str, image: NDArray[Any], field: NDArray[np.uint8] | None, labels: Mapping[str, int], codec: str
) -> dict[str, Any]:
    """Row of a film shard: `image` (H, W) uint8 or uint16, `field` (H, W) uint8 bit field or None."""
    height, width = image.shape
    stored, coded = encode_image(image, codec)
    return {
        "id": film_id,
        "image": stored,
        "mask": None if field is None else np.ascontiguousarray(field).tobytes(),
        "height": height,
        "width": width,
        "codec": coded,
        "labels": json.dumps(dict(labels), sort_keys=True),
    }


def mask_row(film_id: str, field: NDArray[np.uint8]) -> dict[str, Any]:
    """Row of a mask shard: the bit field (H, W) uint8 at the size in which the reader of the film drew it."""
    return {"id": film_id, "mask": field.tobytes(), "height": field.shape[0], "width": field.shape[1]}


class TableWriter:
    """Writes rows into a Parquet file in memory, row group by row group, so that few unpacked rows wait.

    Masks are compressed (to about 1 %), images are not: they hardly shrink.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.rows = 0
        self._schema = schema
        self._sink = io.BytesIO()
        compression = {name: "NONE" if name == "image" else "ZSTD" for name in schema.names}
        self._writer = pq.ParquetWriter(
            self._sink, schema, compression=compression, use_dictionary=False, write_statistics=False
        )
        self._waiting: list[Mapping[str, Any]] = []
        self._bytes = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row, see `film_row` and `mask_row`."""
        self.rows += 1
        self._waiting.append(row)
        self._bytes += sum(len(value) for value in row.values() if isinstance(value, bytes))
        if len(self._waiting) == GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> bytes:
        """Return the whole file; the writer can do no more."""
        self._write_group()
        self._writer.close()
        return self._sink.getvalue()

    def _write_group(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting, self._bytes = [], 0


def open_verified(location: Location, sha256: str) -> pq.ParquetFile:
    """Open a shard whose bytes must have the sha256 of the manifest.

    Raises
    ------
    DataError
        The shard is missing or a byte of it has changed.
    """
    if not location.exists():
        raise DataError(f"shard {location} is missing", "restore it, or delete the data set and ingest again")
    data = location.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(
            f"shard {location} is damaged: sha256 {found[:12]} instead of {sha256[:12]}",
            "restore it, or delete the data set and ingest again",
        )
    return pq.ParquetFile(pa.BufferReader(data))


def decode_mask(data: Any, height: int, width: int) -> NDArray[np.uint8]:
    """Bit field (H, W) uint8 of one row, as a read-only view of its bytes."""
    return np.frombuffer(data, dtype=np.uint8).reshape(height, width)


def read_film(table: pa.Table, position: int, white: float) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Film and bit field of one row.

    Parameters
    ----------
    white : float
        Stored value of white, for films that keep 16 bits (`high` in the index).

    Returns
    -------
    image : array (H, W)
        uint8, or float32 in 0..1 for 16-bit films.
    field : uint8 array (H, W) or None
        None where the film is not annotated.
    """
    height, width = table["height"][position].as_py(), table["width"][position].as_py()
    image = decode_image(table["image"][position].as_buffer(), table["codec"][position].as_py(), height, width)
    if image.dtype == np.uint16:
        image = np.minimum(image.astype(np.float32) / np.float32(white), np.float32(1))
    mask = table["mask"][position]
    return image, decode_mask(mask.as_buffer(), height, width) if mask.is_valid else None
