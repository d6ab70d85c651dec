"""Shards: Parquet files of converted films, and of masks at their original size.

A film is stored as the bytes of its pixels, rows from top to bottom, as they are or compressed without loss (see
`raycxr.dataset.codec`); Parquet tensor columns would store every byte as a 32-bit integer. The mask is one uint8 bit
field per pixel (bit i = class i); null means "not annotated", all zero "annotated as empty".
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raycxr.dataset.codec import encode_image
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
# Rows that a reader decodes at once; see the measurements on row groups of 32 to 64 films.
ROW_GROUP = 64


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


def encode_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Parquet file of the rows. Masks are compressed (to about 1 %), images are not: they hardly shrink."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    compression = {name: "NONE" if name == "image" else "ZSTD" for name in schema.names}
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        compression=compression,
        use_dictionary=False,
        write_statistics=False,
    )
    return sink.getvalue()


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
