"""An S3 object brought to a local file in several ranges at a time, so that a killed download goes on where it was.

Each range is written where it belongs, mebibyte by mebibyte. A hidden file beside the copy lists which of them are
there; it is removed when all are, so that a copy without it is whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from raycxr.errors import StorageError
from raycxr.storage.failures import local_failures
from raycxr.storage.local import TEMPORARY_PREFIX
from raycxr.storage.s3 import S3Store

PIECE_BYTES = 1 << 20
# Servers that are slow to begin an answer want long ranges, long lines several at a time.
PIECES_PER_RANGE = 8
RANGES_AT_A_TIME = 8


@dataclass(frozen=True)
class _Download:
    """One version (`ETag`) of an object, its copy, the descriptors of the copy and of the list, and whether to stop."""

    store: S3Store
    size: int
    version: str
    local: Path
    copy: int
    listed: int
    stopped: threading.Event


def continue_download(store: S3Store, local: Path) -> None:
    """Fetch what a local copy lacks of an object; one that is whole, or has come otherwise, is left as it is.

    Raises
    ------
    StorageError
        `MissingError` where there is no object; or it was replaced meanwhile, could not be read for as long as
        `raycxr.storage.patience` says, or the copy cannot be written. What has arrived is kept.
    """
    list_file = local.with_name(f"{TEMPORARY_PREFIX}{local.name}")
    if local.exists() and not list_file.exists():
        return
    head = store.head()
    with local_failures("write", local):
        if not local.exists():
            list_file.unlink(missing_ok=True)
        with list_file.open("ab") as listed:
            local.touch()
            here = {int(line) for line in list_file.read_text().splitlines()}
            with local.open("r+b") as copy:
                size, version = int(head["ContentLength"]), str(head["ETag"])
                stopped = threading.Event()
                _fetch_ranges(_Download(store, size, version, local, copy.fileno(), listed.fileno(), stopped), here)
                os.fsync(copy.fileno())
        list_file.unlink()


def _fetch_ranges(download: _Download, here: set[int]) -> None:
    with ThreadPoolExecutor(RANGES_AT_A_TIME) as readers:
        try:
            # With the patience of the caller: a thread begins with another context.
            ranges = [
                readers.submit(copy_context().run, partial(_fetch_range, download, pieces))
                for pieces in _missing(here, -(-download.size // PIECE_BYTES))
            ]
            for one in ranges:
                one.result()
        finally:
            # After a failure or Ctrl-C the other ranges end at their next mebibyte, and those that wait do not begin.
            download.stopped.set()
            readers.shutdown(cancel_futures=True)


def _missing(here: set[int], count: int) -> Iterator[range]:
    """Yield runs of pieces that are not here, none longer than a range may be."""
    first = 0
    while first < count:
        end = first
        while end < min(first + PIECES_PER_RANGE, count) and end not in here:
            end += 1
        if end > first:
            yield range(first, end)
        first = max(end, first + 1)


def _fetch_range(download: _Download, pieces: range) -> None:
    position, end = pieces.start * PIECE_BYTES, min(pieces.stop * PIECE_BYTES, download.size)

    def read(client: Any) -> None:
        nonlocal position
        _end_if(download.stopped)
        # After a failure the next request is for the rest.
        span = {"Range": f"bytes={position}-{end - 1}", "IfMatch": download.version}
        for data in client.get_object(**download.store.object, **span)["Body"].iter_chunks(PIECE_BYTES):
            _end_if(download.stopped)
            position = _write(download, position, data)

    download.store.attempt("read", read)
    if position != end:
        raise StorageError(f"{download.store.uri}: asked for the bytes up to {end}, received those up to {position}")


def _write(download: _Download, position: int, data: bytes) -> int:
    """Write bytes where they belong, list the pieces that are whole with them, and return where they end."""
    after = position + len(data)
    whole = range(position // PIECE_BYTES, -(-after // PIECE_BYTES) if after == download.size else after // PIECE_BYTES)
    with local_failures("write", download.local):
        while data:
            data = data[os.pwrite(download.copy, data, after - len(data)) :]
        os.write(download.listed, "".join(f"{piece}\n" for piece in whole).encode())
    return after


def _end_if(stopped: threading.Event) -> None:
    if stopped.is_set():
        raise StorageError("no longer wanted")
