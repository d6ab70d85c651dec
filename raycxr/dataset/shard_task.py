"""The task of one shard: read its films, convert them, write its files, and leave a note.

The note under `parts/` comes last: a killed ingest finds it and does not convert these films again.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from raycxr.dataset.convert import Converted, Originals, Rules, convert_film, read_originals
from raycxr.dataset.plan import ShardPlan
from raycxr.dataset.shard import FILM_SCHEMA, MASK_SCHEMA, encode_table
from raycxr.errors import RaycxrError, StorageError
from raycxr.sources.film import Film, Reject
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location

PARTS = "parts"
# Films that are being read while others are converted: hides the latency of object storage, and no more of them lie in
# memory than that.
READERS = 4


def write_shard(plan: ShardPlan, rules: Rules, out: Location) -> dict[str, Any]:
    """Convert the films of one shard, write its files and its note, and return the note."""
    converted: list[Converted] = []
    rejects: list[Reject] = []
    for film, originals in _read_ahead(plan.films):
        result = _convert(film, originals, rules)
        if isinstance(result, Converted):
            converted.append(result)
        else:
            rejects.append(result)
    name = f"{plan.number:05d}.parquet"
    films = encode_table([item.film for item in converted], FILM_SCHEMA)
    masks = encode_table([item.mask for item in converted if item.mask is not None], MASK_SCHEMA)
    (out / "shards" / name).write_bytes(films)
    (out / "masks" / name).write_bytes(masks)
    for row, item in enumerate(converted):
        item.index.update(shard=plan.number, row=row)
    part = {
        "fingerprint": plan.fingerprint,
        "number": plan.number,
        "shard": _entry(f"shards/{name}", len(converted), films),
        "mask": _entry(f"masks/{name}", sum(item.mask is not None for item in converted), masks),
        "index": [item.index for item in converted],
        "rejects": [asdict(reject) for reject in rejects],
    }
    (out / PARTS / f"{plan.number:05d}.json").write_text(json.dumps(part))
    return part


def _read_ahead(films: Sequence[Film]) -> Iterator[tuple[Film, Originals | Reject]]:
    """Every film with its files, a few of which are read at once."""
    with ThreadPoolExecutor(READERS) as readers:
        waiting: deque[tuple[Film, Future[Originals | Reject]]] = deque()
        for film in films:
            waiting.append((film, readers.submit(_try_read, film)))
            if len(waiting) > READERS:
                first, reading = waiting.popleft()
                yield first, reading.result()
        for first, reading in waiting:
            yield first, reading.result()


def _try_read(film: Film) -> Originals | Reject:
    try:
        return read_originals(film)
    except MissingError as error:
        return Reject(film.uri, "file_missing", error.message)
    except StorageError as error:
        # A local file that cannot be read is a bad film; object storage that still fails after its retries is an
        # outage, and turning it into thousands of rejects would publish a data set without them.
        if not Location(film.uri).is_local:
            raise
        return Reject(film.uri, "file_unreadable", error.message)


def _convert(film: Film, originals: Originals | Reject, rules: Rules) -> Converted | Reject:
    if isinstance(originals, Reject):
        return originals
    try:
        return convert_film(film, originals, rules)
    except RaycxrError:
        raise
    except Exception as error:  # decoders fail in many ways, and one bad film must never stop the rest
        return Reject(film.uri, "unexpected", f"{type(error).__name__}: {error}")


def _entry(name: str, rows: int, data: bytes) -> dict[str, Any]:
    return {"name": name, "rows": rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
