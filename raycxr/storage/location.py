"""`Location`: a file or folder on this machine or in a bucket, named by a path or ``s3://bucket/key``.

* A location is a name: making one touches neither disk nor network, and it travels between processes.
* Every write is whole or absent: a reader never meets half a file, whatever kills the writer.
* Folders need not be made: writing a file makes them, and in a bucket they exist only through their files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from raycxr.errors import StorageError, UsageError
from raycxr.storage.local import TEMPORARY_PREFIX, LocalStore

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.fs

    from raycxr.storage.s3 import S3Store

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/{1,2}")


@dataclass(frozen=True, order=True, init=False, repr=False)
class Location:
    """A file or folder, local or in S3.

    Parameters
    ----------
    uri : str, Path or Location
        A local path (``~`` and relative paths are made absolute) or ``s3://bucket/key``.

    Raises
    ------
    UsageError
        For another scheme, an S3 URI without a bucket, or an empty name.
    """

    uri: str

    def __init__(self, uri: str | Path | Location) -> None:
        object.__setattr__(self, "uri", uri.uri if isinstance(uri, Location) else _normal(str(uri)))

    def __str__(self) -> str:
        return self.uri

    def __repr__(self) -> str:
        return f"Location({self.uri!r})"

    def __truediv__(self, name: str | PurePosixPath) -> Location:
        """Name something inside this folder; the name may hold several parts but never leads out."""
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise UsageError(f"{str(name)!r} is not a name inside {self.uri}", "give a relative name without '..'")
        return Location("/".join((self.uri.rstrip("/"), *parts)))

    @property
    def is_local(self) -> bool:
        """Whether this is a path of this machine."""
        return not self.uri.startswith("s3://")

    @property
    def local_path(self) -> Path:
        """The absolute path of a local location; a `StorageError` for S3."""
        if not self.is_local:
            raise StorageError(f"{self.uri} is not on this machine", "copy it to a local folder first")
        return Path(self.uri)

    @property
    def name(self) -> str:
        """The last part; of a whole bucket, the bucket's name."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """The last suffix with its dot, or an empty string."""
        return self._pure.suffix

    @property
    def parent(self) -> Location:
        """The folder that holds it; a bucket and the root are their own parents."""
        if self.is_local:
            return Location(str(self._pure.parent))
        bucket, _, key = self.uri.removeprefix("s3://").partition("/")
        folder = key.rpartition("/")[0]
        return Location(f"s3://{bucket}/{folder}")

    def read_bytes(self) -> bytes:
        """Return the whole file; a `StorageError` (`MissingError` where there is none) if that fails."""
        return self._store().read_bytes()

    def read_text(self) -> str:
        """Return the whole file, decoded as UTF-8."""
        try:
            return self.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise StorageError(f"{self.uri} is not UTF-8 text (byte {error.start})") from error

    def write_bytes(self, data: bytes) -> None:
        """Write or replace the file, atomically: readers see the old content or the new, never a part."""
        self._store().write_bytes(data)

    def write_text(self, text: str) -> None:
        """Write or replace the file with UTF-8 text, atomically."""
        self.write_bytes(text.encode("utf-8"))

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        store = self._store()
        return store.is_file() or store.is_dir()

    def is_file(self) -> bool:
        """Whether there is a file (in S3: an object of exactly this key)."""
        return self._store().is_file()

    def is_dir(self) -> bool:
        """Whether there is a folder (in S3: any object below this prefix, or the bucket itself)."""
        return self._store().is_dir()

    def size(self) -> int:
        """Return the size of the file in bytes."""
        return self._store().size()

    def unfinished(self) -> list[Location]:
        """List the hidden files and folders directly inside: of writers at work, and of those that were killed."""
        return [self / name for name in self._store().list_names() if _is_temporary(name)]

    def list_folders(self) -> list[Location]:
        """Return the folders directly inside, sorted by name; `MissingError` if it is none.

        In S3 these come with the listing, where asking each of many names for what it is costs a request.
        """
        return [self / name for name in self._store().list_folders() if not _is_temporary(name)]

    def list(self) -> list[Location]:
        """Return the files and folders directly inside, sorted by name; `MissingError` if it is none."""
        return [self / name for name in self._store().list_names() if not _is_temporary(name)]

    def walk(self) -> Iterator[Location]:
        """Yield every file below in the order of the names; `MissingError` if this is no folder."""
        for name in self._store().walk_names():
            if not _is_temporary(name):
                yield self / name

    def delete(self) -> None:
        """Delete the file; nothing happens where there is none."""
        self._store().delete()

    def delete_tree(self) -> None:
        """Delete the folder with everything below; nothing happens where there is none."""
        if self.parent == self:
            raise StorageError(f"will not delete the whole of {self.uri}", "name a folder inside it")
        self._store().delete_tree()

    def abort_uploads(self, older: timedelta) -> None:
        """Give back the parts of uploads into this folder that were begun so long ago, and never finished.

        A writer that is killed leaves them in the bucket, where nobody sees them and somebody pays for them.
        """
        self._store().abort_uploads(older)

    def copy_from(self, local: Path) -> None:
        """Write or replace this file with the content of a local file, atomically."""
        self._store().copy_from(Path(local))

    def continue_to(self, local: Path) -> None:
        """Copy this file to a local path, which holds a part meanwhile; a second call goes on from what is there.

        What is there is not compared: check the whole afterwards.
        """
        self._store().continue_to(Path(local))

    def open_input(self) -> pyarrow.NativeFile:
        """Open the file for reading at any position, as Parquet readers do."""
        return self._store().open_input()

    def filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return a picklable pyarrow file system and the path in it, for pyarrow, Ray Data and Ray Train."""
        return self._store().filesystem()

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.uri.removeprefix("s3:/"))

    def _store(self) -> LocalStore | S3Store:
        if self.is_local:
            return LocalStore(Path(self.uri))
        # boto3 takes most of a second to import: only where a bucket is touched.
        from raycxr.storage.s3 import S3Store

        bucket, _, key = self.uri.removeprefix("s3://").partition("/")
        return S3Store(bucket, key)


def _is_temporary(name: str) -> bool:
    return any(part.startswith(TEMPORARY_PREFIX) for part in name.split("/"))


def _normal(uri: str) -> str:
    """Return an absolute local path or ``s3://bucket[/key]`` without empty, ``.`` or trailing parts."""
    if not uri or "\0" in uri:
        raise UsageError(f"{uri!r} is not a path", "give a local path or s3://bucket/key")
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111 (Path.absolute keeps '..')
    rest = uri[scheme.end() :]
    if scheme[1] == "file" and uri.startswith("file:///"):
        return _normal("/" + rest.lstrip("/"))
    # A URI that went through pathlib has lost one slash: s3:/bucket/key.
    parts = [part for part in rest.split("/") if part not in ("", ".")]
    if scheme[1] != "s3":
        raise UsageError(f"unknown kind of storage: {uri}", "give a local path or s3://bucket/key")
    if not parts or ".." in parts:
        raise UsageError(f"{uri} names no place in a bucket", "give s3://bucket or s3://bucket/key")
    return "s3://" + "/".join(parts)
