"""Files of this machine: every write goes to a hidden neighbour first and is moved into place whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

from raycxr.storage.failures import local_failures

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.fs

TEMPORARY_PREFIX = ".part-"
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class LocalStore:
    """The operations of `raycxr.storage.location.Location` on a local path."""

    path: Path

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        with local_failures("read", self.path):
            return self.path.read_bytes()

    def write_bytes(self, data: bytes) -> None:
        """Write or replace the file, atomically."""
        with local_failures("write", self.path), replacing(self.path) as file:
            file.write(data)

    def is_file(self) -> bool:
        """Whether there is a file."""
        with local_failures("read", self.path):
            return self.path.is_file()

    def is_dir(self) -> bool:
        """Whether there is a folder."""
        with local_failures("read", self.path):
            return self.path.is_dir()

    def size(self) -> int:
        """Return the size of the file in bytes."""
        with local_failures("read", self.path):
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            return self.path.stat().st_size

    def list_names(self) -> list[str]:
        """Return the names directly inside, sorted."""
        with local_failures("list", self.path):
            return sorted(entry.name for entry in self.path.iterdir())

    def list_folders(self) -> list[str]:
        """Return the names of folders directly inside, sorted."""
        with local_failures("list", self.path), os.scandir(self.path) as found:
            return sorted(entry.name for entry in found if entry.is_dir())

    def walk_names(self) -> Iterator[str]:
        """Yield the relative names of all files below, in the order in which S3 sorts the same names as keys."""
        with local_failures("list", self.path), os.scandir(self.path) as found:
            entries = sorted(f"{entry.name}/" if _is_folder(entry) else entry.name for entry in found)
        for name in entries:
            if name.endswith("/"):
                yield from (f"{name}{below}" for below in LocalStore(self.path / name).walk_names())
            else:
                yield name

    def delete(self) -> None:
        """Delete the file, if there is one."""
        with local_failures("delete", self.path):
            self.path.unlink(missing_ok=True)

    def delete_tree(self) -> None:
        """Delete the folder with everything below, if there is one."""
        with local_failures("delete", self.path):
            if self.path.is_dir():
                shutil.rmtree(self.path)

    def abort_uploads(self, older: timedelta) -> None:
        """Nothing is uploaded to a local folder; what writers leave unfinished there has hidden names."""

    def copy_from(self, local: Path) -> None:
        """Write or replace the file with the content of another local file."""
        with (
            local_failures("read", local),
            local.open("rb") as source,
            local_failures("write", self.path),
            replacing(self.path) as file,
        ):
            shutil.copyfileobj(source, file, _COPY_BYTES)

    def continue_to(self, local: Path) -> None:
        """Append to a local file what it lacks of this one."""
        with (
            local_failures("read", self.path),
            self.path.open("rb") as source,
            local_failures("write", local),
            local.open("ab") as file,
        ):
            source.seek(file.tell())
            shutil.copyfileobj(source, file, _COPY_BYTES)
            file.flush()
            os.fsync(file.fileno())

    def open_input(self) -> pyarrow.NativeFile:
        """Open the file for random access."""
        import pyarrow

        with local_failures("read", self.path):
            return pyarrow.OSFile(str(self.path), "rb")

    def filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return pyarrow's file system of this machine and the absolute path."""
        import pyarrow.fs

        return pyarrow.fs.LocalFileSystem(), str(self.path)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a hidden file beside `path` that takes its place when the body ends well, else vanishes."""
    with replacing_path(path) as temporary, temporary.open("xb") as file:
        yield file


@contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """Name a hidden file beside `path`, for the body to write, that takes its place when the body ends well."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        # Such as /dev/stdout: the file would take its place.
        raise OSError(errno.ENOTSUP, "it is a device or a pipe")
    path.parent.mkdir(parents=True, exist_ok=True)
    # With an ending, because torch.save names the archive by what stands before it.
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.tmp"
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except BaseException:  # Ctrl-C must not leave half a file either; it goes on
        temporary.unlink(missing_ok=True)
        raise
    # The new name itself must survive a power cut, too.
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file or a folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether to go into it; not where it is a link to a folder that it lies in, which has no end."""
    if not entry.is_symlink():
        return entry.is_dir()
    target, here = Path(entry.path).resolve(), Path(entry.path).parent.resolve()
    return target.is_dir() and target != here and target not in here.parents
