"""An S3 object read in ranges, and one written in parts; Python file objects for pyarrow to wrap.

Neither keeps a connection: each request uses the one of the process and the moment, so that a file stays open
over an outage, a change of credentials and a fork.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow

from raycxr.errors import StorageError
from raycxr.storage.patience import patience
from raycxr.storage.s3 import S3Store

PART_BYTES = 16 << 20  # S3 takes 10,000 parts, each but the last of 5 MiB or more: objects up to 156 GiB


class S3Reader:
    """Reads any range of an object, always of the same version of it.

    Parameters
    ----------
    store : S3Store
        The object; `MissingError` where there is none.
    """

    def __init__(self, store: S3Store) -> None:
        head = store.head()
        self._store = store
        self._size = int(head["ContentLength"])
        self._version = str(head["ETag"])
        self._position = 0
        self.closed = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, as files do."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, count: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end; one request per call."""
        left = max(self._size - self._position, 0)
        count = left if count < 0 else min(count, left)
        if count == 0:
            return b""
        data = self._store.read_range(self._position, count, self._version)
        self._position += count
        return data

    def read_buffer(self, count: int = -1) -> pyarrow.Buffer:
        """Read without the copy that pyarrow would make of bytes."""
        return pyarrow.py_buffer(self.read(count))

    def close(self) -> None:
        """Mark it closed; nothing is held."""
        self.closed = True


class S3Writer:
    """Collects what is written and sends it in parts; only `close` makes the object appear.

    Parameters
    ----------
    store : S3Store
        The object to write or replace.
    metadata : mapping
        Kept with the object: ``Content-Type`` as its type, all else as S3's metadata.
    """

    def __init__(self, store: S3Store, metadata: Mapping[str, str]) -> None:
        store.need_key("write")
        self._store = store
        named = dict(metadata)
        content_type = named.pop("Content-Type", "application/octet-stream")
        self._options = {"ContentType": content_type, "Metadata": named}
        self._waiting = bytearray()
        self._written = 0
        self._upload = ""
        self._parts: list[dict[str, object]] = []
        self._interrupted = False
        self.closed = False

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._written

    def write(self, data: bytes | bytearray | memoryview | pyarrow.Buffer) -> int:
        """Take bytes; every full part is sent."""
        view = memoryview(data)
        self._waiting += view
        self._written += view.nbytes
        while len(self._waiting) >= PART_BYTES:
            self._send(PART_BYTES)
        return view.nbytes

    def close(self) -> None:
        """Let the object appear; a `StorageError`, and no object, if a part of it could not be sent."""
        if self.closed:
            return
        self.closed = True
        try:
            self._finish()
        except BaseException:  # parts of an upload that Ctrl-C ends would be stored, and paid for, for ever
            self._abandon()
            raise

    def _finish(self) -> None:
        if self._interrupted:
            raise StorageError(f"{self._store.uri} was not written: its upload was interrupted")
        if not self._upload:
            body = bytes(self._waiting)
            self._store.attempt("write", lambda client: client.put_object(**self._arguments, Body=body))
            return
        if self._waiting:
            self._send(len(self._waiting))
        parts = {"Parts": self._parts}
        self._store.attempt(
            "write",
            lambda client: client.complete_multipart_upload(**self._identity, MultipartUpload=parts),
        )

    def _send(self, count: int) -> None:
        try:
            if not self._upload:
                begun = self._store.attempt("write", lambda client: client.create_multipart_upload(**self._arguments))
                self._upload = str(begun["UploadId"])
            with memoryview(self._waiting) as waiting:
                body = bytes(waiting[:count])
            number = len(self._parts) + 1
            answer = self._store.attempt(
                "write", lambda client: client.upload_part(**self._identity, PartNumber=number, Body=body)
            )
        except BaseException:  # after Ctrl-C, too, closing the file must not complete an object with a part missing
            self._interrupted = True
            raise
        checksums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"], **checksums})
        del self._waiting[:count]

    def _abandon(self) -> None:
        """Give the parts back; those of an unreachable server are left to the bucket's own rules."""
        if self._upload:
            with suppress(StorageError), patience(1):
                self._store.attempt("write", lambda client: client.abort_multipart_upload(**self._identity))

    @property
    def _arguments(self) -> dict[str, Any]:
        return {**self._store.object, **self._options}

    @property
    def _identity(self) -> dict[str, str]:
        return {**self._store.object, "UploadId": self._upload}
