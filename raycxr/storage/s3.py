"""Objects in S3 through boto3, as `raycxr.storage.location.Location` needs them.

An object appears whole when its upload has ended, or not at all: S3 knows no half objects, and what is
uploaded in parts becomes an object only with the last request.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from boto3.s3.transfer import TransferConfig

from raycxr.errors import StorageError
from raycxr.storage.failures import MissingError, local_failures
from raycxr.storage.local import replacing
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

    def read_bytes(self) -> bytes:
        """Return the whole object."""
        self._need_key("read")
        return self._attempt("read", lambda client: bytes(client.get_object(**self._object)["Body"].read()))

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
        page = self._attempt("list", lambda client: client.list_objects_v2(**self._below, MaxKeys=1))
        return not self.key or page["KeyCount"] > 0

    def size(self) -> int:
        """Return the size of the object in bytes."""
        self._need_key("read")
        return self._attempt("read", lambda client: int(client.head_object(**self._object)["ContentLength"]))

    def list_names(self) -> list[str]:
        """Return the names of objects and folders directly inside, sorted."""
        names: set[str] = set()
        exists = not self.key
        for page in self._pages(Delimiter="/"):
            for prefix in page.get("CommonPrefixes", ()):
                names.add(prefix["Prefix"].removeprefix(self._prefix).rstrip("/"))
            names.update(item["Key"].removeprefix(self._prefix) for item in page.get("Contents", ()))
            exists = exists or page["KeyCount"] > 0
        if not exists:
            raise self._no_folder()
        return sorted(names - {""})

    def walk_names(self) -> Iterator[str]:
        """Yield the relative names of all objects below, in the order of their keys."""
        exists = not self.key
        for page in self._pages():
            exists = exists or page["KeyCount"] > 0
            for item in page.get("Contents", ()):
                # Keys that end in "/" stand for folders in the eyes of consoles and of pyarrow.
                if not item["Key"].endswith("/"):
                    yield item["Key"].removeprefix(self._prefix)
        if not exists:
            raise self._no_folder()

    def delete(self) -> None:
        """Delete the object, if there is one."""
        self._need_key("delete")
        self._attempt("delete", lambda client: client.delete_object(**self._object))

    def delete_tree(self) -> None:
        """Delete every object below."""
        for page in self._pages():
            keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
            for start in range(0, len(keys), _KEYS_PER_DELETE):
                self._delete_batch(keys[start : start + _KEYS_PER_DELETE])

    def copy_from(self, local: Path) -> None:
        """Write or replace the object with the content of a local file."""
        with local_failures("read", local):
            self._upload(lambda: local.open("rb"), local.stat().st_size)

    def copy_to(self, local: Path) -> None:
        """Copy the object to a local path; boto3 checks its length, and its checksum where it has one."""
        self._need_key("read")
        with local_failures("write", local), replacing(local) as file:

            def download(client: Any) -> None:
                file.seek(0)
                file.truncate()
                for chunk in client.get_object(**self._object)["Body"].iter_chunks(_MEBIBYTE):
                    file.write(chunk)

            self._attempt("read", download)

    def open_input(self) -> pyarrow.NativeFile:
        """Open the object for random access."""
        from raycxr.storage.s3_filesystem import open_input

        self._need_key("read")
        with local_failures("read", self.uri):  # pyarrow tells of a missing object with FileNotFoundError
            return open_input(f"{self.bucket}/{self.key}")

    def filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return a picklable pyarrow file system without secrets in it, and ``bucket/key``."""
        from raycxr.storage.s3_filesystem import s3_filesystem

        return s3_filesystem(), f"{self.bucket}/{self.key}".rstrip("/")

    @property
    def _object(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def _prefix(self) -> str:
        return f"{self.key}/" if self.key else ""

    @property
    def _below(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Prefix": self._prefix}

    def _attempt(self, action: str, request: Callable[[Any], Result]) -> Result:
        return attempt(action, self.uri, lambda connection: request(connection.client))

    def _pages(self, **options: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing; each is a request of its own, so that an outage costs one page."""
        going_on: dict[str, str] = {}
        while True:
            page = self._attempt("list", partial(_list_objects, {**self._below, **options, **going_on}))
            yield page
            if not page.get("IsTruncated"):
                return
            going_on = {"ContinuationToken": page["NextContinuationToken"]}

    def _upload(self, opened: Callable[[], IO[bytes]], size: int) -> None:
        self._need_key("write")

        def send(client: Any) -> None:
            with opened() as file:
                if size < _LARGE:
                    client.put_object(**self._object, Body=file)
                else:
                    client.upload_fileobj(file, self.bucket, self.key, Config=_IN_PARTS)

        self._attempt("write", send)

    def _delete_batch(self, keys: list[dict[str, str]]) -> None:
        request = {"Objects": keys, "Quiet": True}
        answer = self._attempt("delete", lambda client: client.delete_objects(Bucket=self.bucket, Delete=request))
        for failed in answer.get("Errors", ()):
            name = f"s3://{self.bucket}/{failed.get('Key', '')}"
            raise StorageError(f"cannot delete {name}: {failed.get('Code')} {failed.get('Message', '')}")

    def _need_key(self, action: str) -> None:
        if not self.key:
            raise StorageError(f"cannot {action} {self.uri}: it is a bucket", "name a file inside it")

    def _no_folder(self) -> StorageError:
        if self.is_file():
            return StorageError(f"cannot list {self.uri}: it is a file", "name the folder that holds it")
        return MissingError(f"no such folder: {self.uri}", "correct the path")


def _list_objects(arguments: dict[str, str], client: Any) -> dict[str, Any]:
    page: dict[str, Any] = client.list_objects_v2(**arguments)
    return page
