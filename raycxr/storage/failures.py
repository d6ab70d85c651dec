"""What a file system answers when it fails, told in one line with a remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from raycxr.errors import StorageError


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
        return StorageError(f"cannot {action} {path}: it, or a folder above it, is a file", "choose another place")
    if error.errno == errno.EISDIR:
        return StorageError(f"cannot {action} {path}: it is a folder", "name a file inside it")
    return StorageError(f"cannot {action} {path}: {error.strerror or type(error).__name__}")
