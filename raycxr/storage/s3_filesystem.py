"""S3 as a pyarrow file system for Parquet, Ray Data and Ray Train, for runs that outlive their credentials.

It stands on boto3 rather than on pyarrow's own `S3FileSystem`, which keeps the keys that it was built with,
pickles them into every task that it is sent to, and hangs in a process that was forked while another thread used
it. This one holds and pickles nothing: wherever it arrives it uses that process's connection. Over Parquet both
move the same bytes per second, give or take the noise of a server on the loopback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import pyarrow
from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType, PyFileSystem

from raycxr.errors import StorageError
from raycxr.storage.failures import MissingError
from raycxr.storage.s3 import S3Store
from raycxr.storage.s3_streams import S3Reader, S3Writer


def s3_filesystem() -> PyFileSystem:
    """Return the file system; its paths are ``bucket/key``."""
    return PyFileSystem(S3Handler())


class S3Handler(FileSystemHandler):  # type: ignore[misc] # pyarrow has no types
    """What pyarrow asks of a file system.

    A missing file is a `FileNotFoundError`, as pyarrow's callers expect; every other failure a `StorageError`.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Handler)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, S3Handler)

    def __hash__(self) -> int:
        return hash(S3Handler)

    def get_type_name(self) -> str:
        """Return ``s3``."""
        return "s3"

    def normalize_path(self, path: str) -> str:
        """Return ``bucket/key`` without slashes at its ends."""
        return path.strip("/")

    def get_file_info(self, paths: list[str]) -> list[FileInfo]:
        """Return whether each path is a file, a folder or nothing."""
        return [_file_info(path) for path in paths]

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        """Return what lies in a folder, or in all folders below it too."""
        base = selector.base_dir.strip("/")
        store = _store(base)
        found = list(store.entries(recursive=selector.recursive))
        if not found and not selector.allow_not_found and not store.is_dir():
            if store.is_file():
                raise NotADirectoryError(f"{store.uri} is a file")
            raise FileNotFoundError(f"no such folder: {store.uri}")
        return [
            FileInfo(f"{base}/{name}", FileType.Directory)
            if entry is None
            else FileInfo(f"{base}/{name}", FileType.File, size=entry["Size"], mtime=entry["LastModified"])
            for name, entry in found
        ]

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder, which in S3 is an empty object; the folders above it need none."""
        store = _store(path)
        if store.key:
            store.make_folder()

    def delete_dir(self, path: str) -> None:
        """Delete a folder with everything below."""
        self.delete_dir_contents(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Delete everything below a folder."""
        store = _store(path)
        if not store.key:
            _refuse(f"delete the whole bucket {path}")
        if not missing_dir_ok and not store.is_dir():
            raise FileNotFoundError(f"no such folder: {store.uri}")
        store.delete_tree()

    def delete_root_dir_contents(self) -> None:
        """Refuse to delete every bucket."""
        _refuse("delete every bucket")

    def delete_file(self, path: str) -> None:
        """Delete an object."""
        store = _store(path)
        with _missing_as_pyarrow_tells_it():
            store.size()
        store.delete()

    def move(self, source: str, destination: str) -> None:
        """Copy an object and delete the original."""
        self.copy_file(source, destination)
        _store(source).delete()

    def copy_file(self, source: str, destination: str) -> None:
        """Copy an object inside S3."""
        with _missing_as_pyarrow_tells_it():
            _store(destination).copy_within(_store(source))

    def open_input_stream(self, path: str) -> pyarrow.PythonFile:
        """Open an object for reading."""
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pyarrow.PythonFile:
        """Open an object for reading at any position."""
        with _missing_as_pyarrow_tells_it():
            return pyarrow.PythonFile(S3Reader(_store(path)), mode="r")

    def open_output_stream(self, path: str, metadata: Mapping[bytes, bytes] | None) -> pyarrow.PythonFile:
        """Open an object for writing; it appears when the stream is closed, with what was written until then."""
        told = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
        return pyarrow.PythonFile(S3Writer(_store(path), told), mode="w")

    def open_append_stream(self, path: str, metadata: Mapping[bytes, bytes] | None) -> NoReturn:
        """Refuse: S3 has no way to append."""
        _refuse(f"append to s3://{path}, S3 objects are written whole")


def _store(path: str) -> S3Store:
    bucket, _, key = path.strip("/").partition("/")
    return S3Store(bucket, key)


def _file_info(path: str) -> FileInfo:
    store = _store(path)
    if not store.bucket:
        return FileInfo(path, FileType.Directory)
    try:
        entry = store.head() if store.key else None
    except MissingError:
        entry = None
    if entry is not None:
        return FileInfo(path, FileType.File, size=entry["ContentLength"], mtime=entry["LastModified"])
    return FileInfo(path, FileType.Directory if store.is_dir() else FileType.NotFound)


@contextmanager
def _missing_as_pyarrow_tells_it() -> Iterator[None]:
    try:
        yield
    except MissingError as error:
        raise FileNotFoundError(error.message) from error


def _refuse(what: str) -> NoReturn:
    raise StorageError(f"cannot {what}")
