"""Objects in S3 through boto3, as `raycxr.storage.location.Location` needs them.

An object appears whole when its upload has ended, or not at all: S3 knows no half objects, and what is
uploaded in parts becomes an object only with the last request.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from raycxr.errors import StorageError
from raycxr.storage.failures import MissingError, local_failures
from raycxr.storage.s3_connection import attempt

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.fs

Result = TypeVar("Result")

_MEBIBYTE = 1 << 20
_LARGE = 64 * _MEBIBYTE
_IN_PARTS = TransferConfig(multipart_threshold=_LARGE, multipart_chunksize=16 * _MEBIBYTE)
_KEYS_PER_DELETE = 1000  # the protocol's limit


@dataclass(frozen=True)
class S3Store:
    """The operations of `raycxr.storage.location.Location` on one key; an empty key names the bucket."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}".rstrip("/")

    @property
    def object(self) -> dict[str, str]:
        """The arguments of boto3 that name the object."""
        return {"Bucket": self.bucket, "Key": self.key}

    def attempt(self, action: str, request: Callable[[Any], Result]) -> Result:
        """Make a request with boto3's client; see `raycxr.storage.s3_connection.attempt`."""
        return attempt(action, self.uri, request)

    def need_key(self, action: str) -> None:
        """Raise a `StorageError` if this is a whole bucket."""
        if not self.key:
            raise StorageError(f"cannot {action} {self.uri}: it is a bucket", "name a file inside it")

    def read_bytes(self) -> bytes:
        """Return the whole object."""
        self.need_key("read")
        return self.attempt("read", lambda client: bytes(client.get_object(**self.object)["Body"].read()))

    def write_bytes(self, data: bytes) -> None:
        """Write or replace the object."""
        self._upload(lambda: io.BytesIO(data), len(data))

    def is_file(self) -> bool:
        """Whether there is an object of exactly this key."""
        if not self.key:
            return False
        try:
            self.size()
        except MissingError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is an object below this prefix; `MissingError` where there is no such bucket."""
        page = self.attempt("list", lambda client: client.list_objects_v2(**self._below, MaxKeys=1))
        return not self.key or page["KeyCount"] > 0

    def size(self) -> int:
        """Return the size of the object in bytes."""
        return int(self.head()["ContentLength"])

    def head(self) -> dict[str, Any]:
        """Return what S3 tells of the object: ``ContentLength``, ``ETag``, ``LastModified``."""
        self.need_key("read")
        return self.attempt("read", lambda client: dict(client.head_object(**self.object)))

    def read_range(self, start: int, count: int, version: str) -> bytes:
        """Return some bytes of one version (``ETag``) of the object; a `StorageError` if it was replaced."""
        span = f"bytes={start}-{start + count - 1}"
        data = self.attempt(
            "read",
            lambda client: bytes(client.get_object(**self.object, Range=span, IfMatch=version)["Body"].read()),
        )
        if len(data) != count:
            raise StorageError(f"{self.uri}: asked for {count} bytes from {start}, received {len(data)}")
        return data

    def entries(self, recursive: bool) -> Iterator[tuple[str, dict[str, Any] | None]]:
        """Yield (relative name, what S3 tells of the object; None for a folder), in the order of the keys."""
        told: set[str] = set()
        for page in self._pages(**({} if recursive else {"Delimiter": "/"})):
            keys = {item["Key"]: item for item in page.get("Contents", ())}
            keys.update({prefix["Prefix"]: None for prefix in page.get("CommonPrefixes", ())})
            for key, item in sorted(keys.items()):
                name = key.removeprefix(self._prefix)
                for folder in _folders_of(name):
                    if folder not in told:
                        told.add(folder)
                        yield folder, None
                # Keys that end in "/" stand for folders in the eyes of consoles and of pyarrow.
                if not name.endswith("/") and name:
                    yield name, item

    def list_names(self) -> list[str]:
        """Return the names of objects and folders directly inside, sorted."""
        names = sorted({name for name, _ in self.entries(recursive=False)})
        if not names and not self.is_dir():
            raise self._no_folder()
        return names

    def list_folders(self) -> list[str]:
        """Return the names of folders directly inside, sorted."""
        found = list(self.entries(recursive=False))
        if not found and not self.is_dir():
            raise self._no_folder()
        return sorted(name for name, entry in found if entry is None)

    def walk_names(self) -> Iterator[str]:
        """Yield the relative names of all objects below, in the order of their keys."""
        found = False
        for name, entry in self.entries(recursive=True):
            found = True
            if entry is not None:
                yield name
        if not found and not self.is_dir():
            raise self._no_folder()

    def make_folder(self) -> None:
        """Write the empty object that stands for an empty folder."""
        marker = {"Bucket": self.bucket, "Key": self._prefix}
        self.attempt(
            "write",
            lambda client: client.put_object(**marker, Body=b"", ContentType="application/x-directory"),
        )

    def copy_within(self, source: S3Store) -> None:
        """Write or replace the object with the content of another, without moving the bytes here."""
        source.head()
        self.attempt("write", lambda client: client.copy(source.object, self.bucket, self.key))

    def delete(self) -> None:
        """Delete the object, if there is one."""
        self.need_key("delete")
        self.attempt("delete", lambda client: client.delete_object(**self.object))

    def delete_tree(self) -> None:
        """Delete every object below."""
        for page in self._pages():
            keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
            for start in range(0, len(keys), _KEYS_PER_DELETE):
                self._delete_batch(keys[start : start + _KEYS_PER_DELETE])

    def abort_uploads(self, older: timedelta) -> None:
        """Give back the parts of uploads below that were begun so long ago, and never finished."""

        def find(client: Any) -> list[dict[str, Any]]:
            pages = client.get_paginator("list_multipart_uploads").paginate(**self._below)
            return [upload for page in pages for upload in page.get("Uploads", ())]

        latest = datetime.now(UTC) - older
        for upload in self.attempt("list", find):
            if upload["Initiated"] <= latest:
                self.attempt("delete", partial(_abort_upload, self.bucket, upload))

    def copy_from(self, local: Path) -> None:
        """Write or replace the object with the content of a local file."""
        with local_failures("read", local):
            self._upload(lambda: local.open("rb"), local.stat().st_size)

    def continue_to(self, local: Path) -> None:
        """Fetch what a local file lacks of the object, several ranges at a time."""
        from raycxr.storage.s3_download import continue_download

        continue_download(self, local)

    def open_input(self) -> pyarrow.NativeFile:
        """Open the object for random access."""
        import pyarrow

        from raycxr.storage.s3_streams import S3Reader

        return pyarrow.PythonFile(S3Reader(self), mode="r")

    def filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return a picklable pyarrow file system without secrets in it, and ``bucket/key``."""
        from raycxr.storage.s3_filesystem import s3_filesystem

        return s3_filesystem(), f"{self.bucket}/{self.key}".rstrip("/")

    @property
    def _prefix(self) -> str:
        return f"{self.key}/" if self.key else ""

    @property
    def _below(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Prefix": self._prefix}

    def _pages(self, **options: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing; each is a request of its own, so that an outage costs one page."""
        going_on: dict[str, str] = {}
        while True:
            page = self.attempt("list", partial(_list_objects, {**self._below, **options, **going_on}))
            yield page
            if not page.get("IsTruncated"):
                return
            going_on = {"ContinuationToken": page["NextContinuationToken"]}

    def _upload(self, opened: Callable[[], IO[bytes]], size: int) -> None:
        self.need_key("write")

        def send(client: Any) -> None:
            with opened() as file:
                if size < _LARGE:
                    client.put_object(**self.object, Body=file)
                else:
                    client.upload_fileobj(file, self.bucket, self.key, Config=_IN_PARTS)

        self.attempt("write", send)

    def _delete_batch(self, keys: list[dict[str, str]]) -> None:
        def delete(client: Any) -> None:
            answer = client.delete_objects(Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise ClientError({"Error": failed}, "DeleteObjects")

        self.attempt("delete", delete)

    def _no_folder(self) -> StorageError:
        if self.is_file():
            return StorageError(f"cannot list {self.uri}: it is a file", "name the folder that holds it")
        return MissingError(f"no such folder: {self.uri}", "correct the path")


def _folders_of(name: str) -> Iterator[str]:
    """Yield ``a`` and ``a/b`` of ``a/b/c``."""
    end = name.find("/")
    while end > 0:
        yield name[:end]
        end = name.find("/", end + 1)


def _abort_upload(bucket: str, upload: dict[str, Any], client: Any) -> None:
    client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def _list_objects(arguments: dict[str, str], client: Any) -> dict[str, Any]:
    page: dict[str, Any] = client.list_objects_v2(**arguments)
    return page
