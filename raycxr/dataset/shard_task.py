"""The task of one shard: read its films, convert them, write its files, and leave a note.

The note under `parts/` comes last: a killed ingest finds it and does not convert these films again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from raycxr.dataset.apart import Apart, Convert
from raycxr.dataset.convert import Converted, Originals, Rules, convert_film, read_originals
from raycxr.dataset.plan import ShardPlan
from raycxr.dataset.shard import FILM_SCHEMA, MASK_SCHEMA, TableWriter
from raycxr.errors import RaycxrError, StorageError
from raycxr.sources.film import Film, Reject
from raycxr.storage.failures import MissingBucketError, MissingError
from raycxr.storage.location import Location

PARTS = "parts"
# Films that are being read while others are converted: hides the latency of object storage, and no more of them lie in
# memory than that.
READERS = 4
# What a network drive that is away, and a process without free file handles, answer to any request.
_OUTAGES = (errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENODEV, errno.EMFILE, errno.ENFILE)


def write_shard(plan: ShardPlan, rules: Rules, out: Location) -> dict[str, Any]:
    """Convert the films of one shard, write its files and its note, and return the note.

    A shard that was begun before, in a process that died or was killed, is converted with more care, see
    `raycxr.dataset.apart`.
    """
    begun = out / PARTS / f"{plan.name}.begun"
    if begun.exists():
        with Apart(_convert) as convert:
            part = _write(plan, rules, out, convert)
    else:
        begun.write_bytes(b"")
        part = _write(plan, rules, out, _convert)
    (out / PARTS / f"{plan.name}.json").write_text(json.dumps(part))
    return part


def _write(plan: ShardPlan, rules: Rules, out: Location, convert: Convert) -> dict[str, Any]:
    films, masks = TableWriter(FILM_SCHEMA), TableWriter(MASK_SCHEMA)
    index: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for film, originals in _read_ahead(plan.films):
        result = originals if isinstance(originals, Reject) else convert(film, originals, rules)
        if isinstance(result, Reject):
            rejects.append(result)
            continue
        index.append({**result.index, "shard": plan.number, "row": films.rows})
        films.add(result.film)
        if result.mask is not None:
            masks.add(result.mask)
    return {
        "fingerprint": plan.fingerprint,
        "number": plan.number,
        "shard": _write_file(out, f"shards/{plan.name}.parquet", films),
        "mask": _write_file(out, f"masks/{plan.name}.parquet", masks),
        "index": index,
        "rejects": [asdict(reject) for reject in rejects],
    }


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
    except MissingBucketError:
        raise  # no film of the bucket can be read: servers in trouble answer so, too
    except MissingError as error:
        folder = Location(film.uri).parent
        if folder.is_local and not folder.is_dir():
            raise StorageError(f"the folder {folder} has vanished", "bring it back, and run the same again") from error
        return Reject(film.uri, "file_missing", error.message)
    except StorageError as error:
        # A local file that cannot be read is a bad film; object storage that still fails after its retries is an
        # outage, and turning it into thousands of rejects would publish a data set without them.
        if not Location(film.uri).is_local or getattr(error.__cause__, "errno", None) in _OUTAGES:
            raise
        return Reject(film.uri, "file_unreadable", error.message)


def _convert(film: Film, originals: Originals, rules: Rules) -> Converted | Reject:
    try:
        return convert_film(film, originals, rules)
    except RaycxrError:
        raise
    except Exception as error:  # decoders fail in many ways, and one bad film must never stop the rest
        # Not the text of the error: it may quote what a film's header says about the patient.
        place = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
        return Reject(film.uri, "unexpected", detail)


def _write_file(out: Location, name: str, table: TableWriter) -> dict[str, Any]:
    data = table.finish()
    (out / name).write_bytes(data)
    return {"name": name, "rows": table.rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
