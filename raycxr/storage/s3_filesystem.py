"""S3 as a pyarrow file system for Parquet, Ray Data and Ray Train, for runs that outlive their credentials.

pyarrow's own `S3FileSystem` keeps the keys that it was built with and pickles them into every task that it is
sent to. The one of this module holds and pickles nothing: wherever it arrives, it builds one from the
credentials that botocore holds valid at that moment, builds it again whenever they change, and repeats what
fails in a way that passes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pyarrow
from botocore.credentials import ReadOnlyCredentials
from pyarrow.fs import (
    AwsStandardS3RetryStrategy,
    FileInfo,
    FileSelector,
    FileSystemHandler,
    PyFileSystem,
    S3FileSystem,
)

from raycxr.errors import StorageError
from raycxr.storage.s3_connection import Connection, attempt

Result = TypeVar("Result")

_READ_ATTEMPTS = 3
# An open upload cannot be begun anew from outside, so pyarrow itself must outlast an outage: its pauses are
# random up to a limit that doubles from 1 s to 20 s, which makes about 95 s in all.
_WRITE_ATTEMPTS = 14


def s3_filesystem() -> PyFileSystem:
    """Return the file system; its paths are ``bucket/key``."""
    return PyFileSystem(S3Handler())


def open_input(path: str) -> pyarrow.PythonFile:
    """Open ``bucket/key`` for reading at any position."""
    return pyarrow.PythonFile(_SteadyFile(path), mode="r")


class S3Handler(FileSystemHandler):  # type: ignore[misc] # pyarrow has no types
    """What pyarrow asks of a file system, answered by an `S3FileSystem` with credentials that are valid now.

    `FileNotFoundError` and its like pass through as pyarrow's callers expect them; what S3 refuses is a
    `StorageError`.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Handler)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, S3Handler)

    def __hash__(self) -> int:
        return hash(S3Handler)

    def get_type_name(self) -> str:
        """Return ``raycxr-s3``."""
        return "raycxr-s3"

    def normalize_path(self, path: str) -> str:
        """Return ``bucket/key`` without slashes at its ends."""
        return path.strip("/")

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Return what is known of each path."""
        return [self._file_info(path) for path in paths]

    def _file_info(self, path: str) -> FileInfo:
        return _try("read", path, lambda s3: s3.get_file_info(path))

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        """Return what lies in a folder."""
        return _try("list", selector.base_dir, lambda s3: s3.get_file_info(selector))

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder, which in S3 is an empty object."""
        _try("write", path, lambda s3: s3.create_dir(path, recursive=recursive))

    def delete_dir(self, path: str) -> None:
        """Delete a folder with everything below."""
        _try("delete", path, lambda s3: s3.delete_dir(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete everything below a folder."""
        _try("delete", path, lambda s3: s3.delete_dir_contents(path, missing_dir_ok=missing_dir_ok))

    def delete_root_dir_contents(self) -> None:
        """Refuse to delete every bucket."""
        raise StorageError("will not delete the whole of s3://", "name a folder in a bucket")

    def delete_file(self, path: str) -> None:
        """Delete an object."""
        _try("delete", path, lambda s3: s3.delete_file(path))

    def move(self, source: str, destination: str) -> None:
        """Copy an object and delete the original."""
        _try("write", destination, lambda s3: s3.move(source, destination))

    def copy_file(self, source: str, destination: str) -> None:
        """Copy an object inside S3."""
        _try("write", destination, lambda s3: s3.copy_file(source, destination))

    def open_input_stream(self, path: str) -> pyarrow.PythonFile:
        """Open an object for reading."""
        return open_input(path)

    def open_input_file(self, path: str) -> pyarrow.PythonFile:
        """Open an object for reading at any position."""
        return open_input(path)

    def open_output_stream(self, path: str, metadata: Mapping[str, str] | None) -> pyarrow.NativeFile:
        """Open an object for writing; it appears when the stream is closed."""

        def opened(used: Connection) -> pyarrow.NativeFile:
            return _native(used, path, _WRITE_ATTEMPTS).open_output_stream(path, metadata=metadata)

        return attempt("write", f"s3://{path}", opened)

    def open_append_stream(self, path: str, metadata: Mapping[str, str] | None) -> pyarrow.NativeFile:
        """Refuse: S3 has no way to append."""
        raise StorageError(f"cannot append to s3://{path}: S3 objects are written whole")


class _SteadyFile:
    """An object read in ranges; opened anew when credentials change or the process was forked."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._position = 0
        self._native: pyarrow.NativeFile | None = None
        self._opened_by: tuple[Connection, ReadOnlyCredentials] | None = None
        self._etag = ""
        self._size = attempt("read", f"s3://{path}", lambda used: int(self._file(used).size()))
        self.closed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def read(self, count: int = -1) -> bytes:
        left = max(self._size - self._position, 0)
        count = left if count is None or count < 0 else min(count, left)
        if count == 0:
            return b""
        position = self._position
        data = attempt("read", f"s3://{self._path}", lambda used: self._file(used).read_at(count, position))
        self._position += len(data)
        return bytes(data)

    def read_buffer(self, count: int = -1) -> pyarrow.Buffer:
        """Read without the copy that pyarrow makes of the bytes of `read`."""
        return pyarrow.py_buffer(self.read(count))

    def close(self) -> None:
        self.closed = True
        self._native = None

    def _file(self, used: Connection) -> pyarrow.NativeFile:
        opened_by = (used, used.credentials())
        if self._native is None or self._opened_by != opened_by:
            file = _native(used, self._path, _READ_ATTEMPTS).open_input_file(self._path)
            etag = str(file.metadata().get("ETag", b""))
            if self._etag and etag != self._etag:
                raise StorageError(f"s3://{self._path} was replaced while it was read", "start the reading again")
            self._native, self._opened_by, self._etag = file, opened_by, etag
        return self._native


_built: WeakKeyDictionary[Connection, dict[tuple[object, ...], S3FileSystem]] = WeakKeyDictionary()


def _try(action: str, path: str, request: Callable[[S3FileSystem], Result]) -> Result:
    return attempt(action, f"s3://{path}", lambda used: request(_native(used, path, _READ_ATTEMPTS)))


def _native(used: Connection, path: str, attempts: int) -> S3FileSystem:
    """Return pyarrow's file system for the bucket of `path`, with the credentials that are valid now."""
    credentials = used.credentials()
    region = used.region_of(path.partition("/")[0])
    key = (credentials, region, attempts)
    built = _built.setdefault(used, {})
    if key not in built:
        for stale in [other for other in built if other[0] != credentials]:
            del built[stale]
        built[key] = _build(used.endpoint, region, credentials, attempts)
    return built[key]


def _build(endpoint: str, region: str, credentials: ReadOnlyCredentials, attempts: int) -> S3FileSystem:
    options: dict[str, str] = {}
    if endpoint:
        url = urlsplit(endpoint)
        options = {"scheme": url.scheme, "endpoint_override": url.netloc + url.path.rstrip("/")}
    if authority := os.environ.get("AWS_CA_BUNDLE"):
        options["tls_ca_file_path"] = authority
    return S3FileSystem(
        access_key=credentials.access_key,
        secret_key=credentials.secret_key,
        session_token=credentials.token,
        region=region,
        connect_timeout=5,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=attempts),
        **options,
    )
