"""`manifest.json`: what a data set is, written last, so that whoever finds it finds the whole data set."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from raycxr.config.dataset import SplitSection
from raycxr.config.ingest import IntensitySection
from raycxr.dataset.codec import Codec
from raycxr.errors import DataError
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location

FORMAT_VERSION = 3
# Of a bucket, whose answers take their time.
ASKED_AT_ONCE = 16
MANIFEST = "manifest.json"
INDEX = "index.parquet"
REJECTS = "rejects.parquet"
_RESTORE = "restore it, or delete the data set and ingest again"

INDEX_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("patient", pa.string()),
        ("source", pa.string()),
        ("labels", pa.string()),
        ("annotated", pa.bool_()),
        ("pixels", pa.list_(pa.int64())),  # per class, at the original size of the mask
        ("height", pa.int32()),  # of the original film
        ("width", pa.int32()),
        ("mask_height", pa.int32()),
        ("mask_width", pa.int32()),
        ("spacing_mm", pa.float64()),  # of the original film
        ("low", pa.float64()),  # stored values that the intensity rule mapped to black and to white
        ("high", pa.float64()),
        ("original", pa.string()),
        ("sha256", pa.string()),  # of the original file
        ("masks_sha256", pa.list_(pa.string())),  # of the original mask files, or of their run lengths
        ("pixels_sha256", pa.string()),  # of the decoded film: equal for exact duplicates
        ("listed_sha256", pa.string()),  # of what the source listed about the film
        ("given_split", pa.string()),
        ("split", pa.string()),
    ]
)
REJECT_SCHEMA = pa.schema([("original", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardEntry(_Part):
    """One Parquet file of the data set."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Geometry(_Part):
    """Films are scaled to fit a square of `size` pixels, keeping their aspect, and padded with black."""

    size: int
    fit: Literal["letterbox"] = "letterbox"


class Counts(_Part):
    """`images + rejected = listed`, always."""

    listed: int
    images: int
    rejected: int
    annotated: int


class Manifest(_Part):
    """Everything about a data set except its films."""

    format_version: int = FORMAT_VERSION
    raycxr: str
    source: str
    classes: tuple[str, ...]
    structures: dict[str, tuple[str, ...]]
    geometry: Geometry
    intensity: IntensitySection
    codec: Codec
    decoder: str
    counts: Counts
    shards: tuple[ShardEntry, ...]
    masks: tuple[ShardEntry, ...]
    split: SplitSection
    patient_key: str | None  # tells keys of patients apart: under another one, every patient has another hash
    rules: str  # hash of the rules: only films converted by the same ones are added
    id: str  # content id: of the films, the masks and the rules, however many workers wrote them


def read_manifest(dataset: Location) -> Manifest:
    """Read a data set's manifest.

    Raises
    ------
    DataError
        No manifest (nothing there, or an ingest that did not finish), or one of another format.
    """
    place = dataset / MANIFEST
    if not place.exists():
        if dataset.is_dir():
            raise DataError(f"{dataset} holds no finished data set: {MANIFEST} is missing", "run raycxr ingest again")
        raise DataError(f"there is no data set at {dataset}", "run raycxr ingest, or correct the place")
    try:
        values = json.loads(place.read_bytes())
    except ValueError:
        raise DataError(f"{place} is damaged: not valid JSON", _RESTORE) from None
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        if version is None:
            raise DataError(f"{place} is damaged: no format version", _RESTORE)
        raise DataError(
            f"{place} has format version {version!r}, this raycxr reads {FORMAT_VERSION}",
            "delete the data set and ingest again, or use the raycxr that wrote it",
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{place} is damaged: {where}: {first['msg']}", _RESTORE) from None


def read_index(dataset: Location) -> list[dict[str, Any]]:
    """Rows of `index.parquet`, one per film, in the order of the shards and of the rows in them."""
    return _read_rows(dataset / INDEX)


def read_rejects(dataset: Location) -> list[dict[str, Any]]:
    """Rows of `rejects.parquet`: original, reason, detail."""
    return _read_rows(dataset / REJECTS)


def write_rows(place: Location, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write a table without pixels."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink, compression="ZSTD")
    place.write_bytes(sink.getvalue())


def _read_rows(place: Location) -> list[dict[str, Any]]:
    if not place.exists():
        raise DataError(f"{place} is missing", _RESTORE)
    try:
        # Not pq.read_table, which imports pandas.
        rows: list[dict[str, Any]] = pq.ParquetFile(pa.BufferReader(place.read_bytes())).read().to_pylist()
    except pa.ArrowInvalid as error:
        raise DataError(f"{place} is damaged: {error}", _RESTORE) from None
    return rows


def check_shards(location: Location, entries: Sequence[ShardEntry]) -> None:
    """Refuse shards of which one is missing or has another size, without reading any; a `DataError` names it."""

    def check(entry: ShardEntry) -> None:
        place = location / entry.name
        try:
            size = place.size()
        except MissingError:
            raise DataError(f"shard {place} is missing", _RESTORE) from None
        if size != entry.bytes:
            raise DataError(f"shard {place} is damaged: {size} bytes instead of {entry.bytes}", _RESTORE)

    with ThreadPoolExecutor(ASKED_AT_ONCE) as askers:
        list(askers.map(check, entries))
