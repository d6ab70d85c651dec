"""What a file system answers when it fails, told in one line with a remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from raycxr.errors import StorageError

_ANOTHER_PLACE = "choose another place"


class MissingError(StorageError):
    """A file, folder or bucket that does not exist."""


class MissingBucketError(MissingError):
    """A bucket that does not exist, and with it none of its files."""


@contextmanager
def local_failures(action: str, path: object) -> Iterator[None]:
    """Turn an ``OSError`` of the body into a `StorageError`.

    Parameters
    ----------
    action : str
        What was tried, as in "no right to ACTION PATH": ``"read"``, ``"write"``, ``"list"``, ``"delete"``.
    path : object
        The path that is named to the user.
    """
    try:
        yield
    except FileNotFoundError as error:
        if action == "write":
            # Folders are made as they are needed, so that none is missing: this place takes none, as /proc does.
            raise StorageError(f"cannot write {path}: no folder can be made there", _ANOTHER_PLACE) from error
        raise MissingError(f"no such file or folder: {path}", "correct the path") from error
    except OSError as error:
        raise _local_error(action, path, error) from error


def _local_error(action: str, path: object, error: OSError) -> StorageError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return StorageError(f"no right to {action} {path}", "change its permissions or choose another place")
    if error.errno == errno.EROFS:
        return StorageError(f"cannot {action} {path}: the file system is read-only", "choose a writable place")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"cannot {action} {path}: no space left", "free space or choose another place")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return StorageError(f"cannot {action} {path}: it, or a folder above it, is a file", _ANOTHER_PLACE)
    if error.errno == errno.EISDIR:
        return StorageError(f"cannot {action} {path}: it is a folder", "name a file inside it")
    if error.errno == errno.ENAMETOOLONG:
        return StorageError(f"cannot {action} {path}: the name is too long", "choose a shorter one")
    if error.errno == errno.ELOOP:
        return StorageError(f"cannot {action} {path}: its links go round in a circle", "mend the links")
    if error.errno == errno.EIO:
        return StorageError(f"cannot {action} {path}: the disk fails", "check the disk, or choose another place")
    told = error.strerror or type(error).__name__
    return StorageError(f"cannot {action} {path}: {told}", f"check that place, or {_ANOTHER_PLACE}")
