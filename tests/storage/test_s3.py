"""S3 when it goes wrong: no rights, no bucket, outages, credentials that change, forks, kills."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import secrets
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
from s3_server import VISITOR, S3Server

from raycxr.errors import StorageError
from raycxr.storage.check import check_writable
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location
from raycxr.storage.patience import patience
from raycxr.storage.s3_connection import connection

pytestmark = pytest.mark.slow

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def folder(s3_folder: str) -> Location:
    """A folder with one file, read once so that a client exists."""
    location = Location(s3_folder)
    (location / "file").write_bytes(CONTENT)
    assert (location / "file").read_bytes() == CONTENT
    return location


@pytest.fixture
def own_server(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server whose keys a test may change; the shared one's environment points to it."""
    with S3Server(tmp_path / "server") as server:
        server.create_bucket("test-own")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield server


@contextmanager
def outage(server: S3Server, role: str, seconds: float) -> Iterator[None]:
    """Take one daemon away now and bring it back after some seconds."""
    server.stop(role)
    timer = threading.Timer(seconds, server.start, [role])
    timer.start()
    try:
        yield
    finally:
        timer.join()


def uses(folder: Location) -> dict[str, Callable[[], object]]:
    """The ways to reach a server: through boto3 and through pyarrow."""
    filesystem, path = folder.filesystem()

    def write_stream() -> None:
        with filesystem.open_output_stream(f"{path}/stream") as stream:
            stream.write(b"1")

    return {
        "read": (folder / "file").read_bytes,
        "size": (folder / "file").size,
        "write": lambda: (folder / "new").write_bytes(b"1"),
        "list": folder.list,
        "walk": lambda: list(folder.walk()),
        "delete": (folder / "other").delete,
        "open": (folder / "file").open_input,
        "stream": write_stream,
        "select": lambda: filesystem.get_file_info(pyarrow.fs.FileSelector(path)),
    }


def one_line(use: Callable[[], object], seconds: float = 5.0) -> StorageError:
    """Return the error of a use that must fail soon, in one line and without a secret."""
    began = time.monotonic()
    with pytest.raises(StorageError) as caught:
        use()
    assert time.monotonic() - began < seconds
    assert "\n" not in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert os.environ.get("AWS_SECRET_ACCESS_KEY", "no secret") not in told
    return caught.value


def test_a_wrong_secret_is_told_at_once(folder: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-" + secrets.token_hex(8))
    for name, use in uses(folder).items():
        error = one_line(use)
        assert "credentials refused" in error.message or "(403)" in error.message, name
        assert "credentials" in error.remedy or "AWS_SECRET_ACCESS_KEY" in error.remedy
    with pytest.raises(StorageError, match="credentials refused: cannot write"):
        check_writable(folder)


def test_a_reader_without_the_right_to_write_is_told(
    s3_server: S3Server, folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = folder.uri.split("/")[2]
    client = connection().client
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", VISITOR)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.visitor_secret)
        assert (folder / "file").read_bytes() == CONTENT
        assert [one.name for one in folder.list()] == ["file"]
        error = one_line(lambda: check_writable(folder))
        assert error.message == f"no right to write {folder.uri} (403)"
        assert "s3:PutObject" in error.remedy
        for name in ("write", "stream"):
            assert "no right to write" in one_line(uses(folder)[name]).message
        assert "no right to delete" in one_line((folder / "file").delete).message
        assert "no right to delete" in one_line(folder.delete_tree).message
    finally:
        client.put_bucket_acl(Bucket=bucket, ACL="private")


def test_an_unknown_bucket_is_told_at_once(s3_server: S3Server) -> None:
    nowhere = Location("s3://test-nowhere/folder")
    for name in ("read", "write", "list", "walk", "stream", "select"):
        error = one_line(uses(nowhere)[name])
        assert error.message == f"no such bucket: s3://test-nowhere at {s3_server.endpoint}", name
        assert isinstance(error, MissingError)
    with pytest.raises(StorageError, match="no such bucket"):
        check_writable(nowhere)


@pytest.mark.parametrize("uri", ["s3://NOT_A_BUCKET/a", "s3://a b/c"])
def test_an_impossible_bucket_is_told(s3_server: S3Server, uri: str) -> None:
    assert uri in one_line(Location(uri).read_bytes).message


def test_missing_credentials_are_told(folder: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for use in uses(folder).values():
        error = one_line(use)
        assert error.message.startswith("no credentials found")
        assert "AWS_ACCESS_KEY_ID" in error.remedy
    monkeypatch.setenv("AWS_PROFILE", "hospital")
    assert "hospital" in one_line((folder / "file").read_bytes).message


def test_an_unreachable_server_is_given_up(folder: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://reader:password@127.0.0.1:9")
    with patience(1):
        for name in ("read", "list", "open"):
            error = one_line(uses(folder)[name], 20)
            assert error.message.startswith("cannot reach http://127.0.0.1:9 to "), name
            assert "AWS_ENDPOINT_URL" in error.remedy


def test_the_more_specific_endpoint_wins(folder: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert (folder / "file").read_bytes() == CONTENT
    with (folder / "file").open_input() as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize("role", ["proxy", "object"])
def test_an_outage_of_some_seconds_is_survived(s3_server: S3Server, folder: Location, role: str) -> None:
    filesystem, path = folder.filesystem()
    stream = filesystem.open_output_stream(f"{path}/stream")
    stream.write(CONTENT)
    file = (folder / "file").open_input()
    assert file.read(1000) == CONTENT[:1000]
    with ThreadPoolExecutor(5) as threads, outage(s3_server, role, 6):
        began = time.monotonic()
        written = threads.submit((folder / "new").write_bytes, CONTENT)
        read = threads.submit((folder / "file").read_bytes)
        continued = threads.submit(file.read)
        parquet = threads.submit(filesystem.get_file_info, f"{path}/file")
        closed = threads.submit(stream.close)
        written.result()
        assert time.monotonic() - began > 5
        assert read.result() == CONTENT
        assert continued.result() == CONTENT[1000:]
        assert parquet.result().size == len(CONTENT)
        closed.result()
    assert (folder / "new").read_bytes() == (folder / "stream").read_bytes() == CONTENT


def test_a_rewritten_credentials_file_is_taken_up(
    own_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"

    def rotate() -> None:
        lines = ["[default]", "aws_access_key_id = raycxr:raycxr", f"aws_secret_access_key = {own_server.secret}"]
        credentials.write_text("\n".join(lines))

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    rotate()
    folder = Location("s3://test-own/folder")
    (folder / "file").write_bytes(CONTENT)
    filesystem, path = folder.filesystem()
    file = (folder / "file").open_input()
    assert file.read(1000) == CONTENT[:1000]

    own_server.change_secret("second-secret")
    assert "credentials refused" in one_line((folder / "file").read_bytes).message
    rotate()
    assert file.read() == CONTENT[1000:]
    assert filesystem.get_file_info(f"{path}/file").size == len(CONTENT)

    own_server.change_secret("third-secret")
    rotate()
    assert (folder / "file").read_bytes() == CONTENT
    own_server.change_secret("fourth-secret")
    rotate()
    assert [one.name for one in folder.list()] == ["file"]
    own_server.change_secret("fifth-secret")
    rotate()
    with filesystem.open_output_stream(f"{path}/stream") as stream:
        stream.write(b"1")


def test_expiring_credentials_are_refreshed(
    own_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a credential process, which botocore refreshes by the same rules as a pod's web identity."""
    answer = tmp_path / "answer.json"

    def rotate() -> None:
        expires = datetime.now(UTC) + timedelta(minutes=5)  # botocore refreshes what has less than 10 minutes
        keys = {"AccessKeyId": "raycxr:raycxr", "SecretAccessKey": own_server.secret}
        answer.write_text(json.dumps({"Version": 1, "Expiration": expires.isoformat(), **keys}))

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {answer}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    rotate()
    folder = Location("s3://test-own/folder")
    (folder / "file").write_bytes(CONTENT)
    file = (folder / "file").open_input()
    first = connection()
    for secret in ("second", "third"):
        own_server.change_secret(secret)
        rotate()
        file.seek(500)
        assert file.read(500) == CONTENT[500:1000]
        assert (folder / "file").read_bytes() == CONTENT
    assert connection() is first  # no refusal was met: botocore knew


def test_changed_variables_are_followed(own_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own_server.secret)
    file = Location("s3://test-own/file")
    file.write_bytes(b"1")
    own_server.change_secret("second-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "second-secret")
    assert file.read_bytes() == b"1"


def test_no_pickle_carries_a_secret(folder: Location) -> None:
    filesystem, path = folder.filesystem()
    filesystem.get_file_info(path)
    for travelling in (filesystem, folder):
        pickled = pickle.dumps(travelling)
        for name in (b"AWS_SECRET_ACCESS_KEY", b"AWS_ACCESS_KEY_ID", b"AWS_ENDPOINT_URL"):
            assert os.environb[name] not in pickled
        assert pickle.loads(pickled) == travelling
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).get_file_info(sys.argv[1]).size)"
    done = subprocess.run(
        [sys.executable, "-c", code, f"{path}/file"],
        input=pickle.dumps(filesystem),
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) == len(CONTENT)


def test_file_systems_of_one_configuration_are_equal(folder: Location, tmp_path: Path) -> None:
    filesystem, path = folder.filesystem()
    assert filesystem == (folder / "other").filesystem()[0]
    assert filesystem != Location(tmp_path).filesystem()[0]
    assert filesystem.normalize_path(f"{path}/") == path
    assert filesystem.type_name == "py::s3"


def test_data_sets_are_written_and_read(folder: Location) -> None:
    filesystem, path = folder.filesystem()
    table = pyarrow.table(
        {"fold": pyarrow.array([1, 1, 2], pyarrow.int32()), "image": [b"a" * 100_000, b"b" * 100_000, None]}
    )
    pyarrow.dataset.write_dataset(table, f"{path}/set", filesystem=filesystem, format="parquet", partitioning=["fold"])
    found = pyarrow.dataset.dataset(f"{path}/set", filesystem=filesystem, partitioning=["fold"])
    assert found.to_table(columns=["fold", "image"]).sort_by("fold") == table
    assert [one.name for one in (folder / "set" / "1").list()] == ["part-0.parquet"]
    filesystem.copy_file(f"{path}/file", f"{path}/copy")
    filesystem.move(f"{path}/copy", f"{path}/moved")
    assert (folder / "moved").read_bytes() == CONTENT
    assert not (folder / "copy").exists()
    filesystem.create_dir(f"{path}/empty/inner")
    assert (folder / "empty").is_dir()
    assert list((folder / "empty").walk()) == []
    assert [one.name for one in (folder / "empty").list()] == ["inner"]
    filesystem.delete_dir(f"{path}/set")
    filesystem.delete_file(f"{path}/moved")
    assert [one.name for one in folder.walk()] == ["file"]
    with pytest.raises(FileNotFoundError):
        filesystem.delete_file(f"{path}/moved")
    with pytest.raises(StorageError, match="cannot append"):
        filesystem.open_append_stream(f"{path}/file")


def test_a_file_replaced_while_it_is_read_is_not_mixed(own_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", own_server.secret)
    location = Location("s3://test-own/file")
    location.write_bytes(b"1" * 100)
    file = location.open_input()
    assert file.read(10) == b"1" * 10
    location.write_bytes(b"2" * 100)
    own_server.change_secret("second-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "second-secret")
    with pytest.raises(StorageError, match="was replaced while it was read"):
        file.read(10)


def test_a_listing_of_many_pages_is_whole(folder: Location) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: (folder / "many" / f"{i:04}").write_bytes(b""), range(230)))
    assert [one.name for one in (folder / "many").walk()] == [f"{i:04}" for i in range(230)]
    assert len((folder / "many").list()) == 230
    (folder / "many").delete_tree()
    assert [one.name for one in folder.walk()] == ["file"]


def _read_in_child(folder: Location, file: Any, results: Any) -> None:
    filesystem, path = folder.filesystem()
    results.put(
        (
            (folder / "file").read_bytes() == CONTENT,
            file.read(100) == CONTENT[:100],
            filesystem.get_file_info(f"{path}/file").size == len(CONTENT),
        )
    )


def test_a_forked_child_makes_its_own_connection(folder: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the loader's worker processes are: forked from a process whose clients and threads are busy."""
    monkeypatch.setenv("AWS_SDK_UA_APP_ID", "0")
    file = (folder / "file").open_input()
    filesystem, path = folder.filesystem()
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    done = threading.Event()

    def keep_busy() -> None:
        while not done.is_set():
            (folder / "file").read_bytes()
            filesystem.get_file_info(f"{path}/file")

    def keep_connecting() -> None:
        while not done.is_set():
            os.environ["AWS_SDK_UA_APP_ID"] = str(time.monotonic_ns())
            connection()

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(keep_busy), threads.submit(keep_connecting)]
        try:
            for _ in range(4):
                child = fork.Process(target=_read_in_child, args=(folder, file, results), daemon=True)
                child.start()
                assert results.get(timeout=60) == (True, True, True)
                child.join(60)
                assert child.exitcode == 0
        finally:
            done.set()
        assert [one.result() for one in running] == [None, None]
    assert file.read(100) == CONTENT[:100]


def test_a_stream_of_several_parts_is_whole(folder: Location) -> None:
    filesystem, path = folder.filesystem()
    content = os.urandom(40_000_000)
    with filesystem.open_output_stream(f"{path}/stream", metadata={"Content-Type": "image/x-raw"}) as stream:
        for start in range(0, len(content), 3_000_001):
            stream.write(content[start : start + 3_000_001])
        assert stream.tell() == len(content)
    assert (folder / "stream").read_bytes() == content
    bucket, _, key = path.partition("/")
    head = connection().client.head_object(Bucket=bucket, Key=f"{key}/stream")
    assert head["ContentType"] == "image/x-raw"
    with (folder / "stream").open_input() as file:
        assert file.read_at(5_000_000, 15_000_000) == content[15_000_000:20_000_000]
        assert file.read_at(10, len(content) - 3) == content[-3:]


def test_a_stream_that_lost_a_part_leaves_no_object(s3_server: S3Server, folder: Location) -> None:
    filesystem, path = folder.filesystem()
    stream = filesystem.open_output_stream(f"{path}/stream")
    stream.write(bytes(17_000_000))
    s3_server.stop("proxy")
    try:
        with patience(1), pytest.raises(StorageError, match="cannot reach"):
            stream.write(bytes(17_000_000))
    finally:
        s3_server.start("proxy")
    with pytest.raises(StorageError, match="was not written"):
        stream.close()
    assert [one.name for one in folder.list()] == ["file"]


def test_uploads_that_were_never_finished_are_given_back(folder: Location) -> None:
    """Those below the folder alone, and none that may still be under way."""
    client = connection().client
    bucket, _, prefix = folder.uri.removeprefix("s3://").partition("/")
    keys = [f"{prefix}/shards/0.parquet", f"{prefix}/shards/1.parquet", f"{prefix}/elsewhere"]
    for key in keys:
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=CONTENT)

    def unfinished() -> list[str]:
        return sorted(
            entry["Key"] for entry in client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", ())
        )

    assert unfinished() == sorted(keys)
    (folder / "shards").abort_uploads(timedelta(hours=1))
    assert unfinished() == sorted(keys)
    (folder / "shards").abort_uploads(timedelta(seconds=-60))
    assert unfinished() == keys[2:]
    folder.abort_uploads(timedelta(seconds=-60))
    assert unfinished() == []
    assert (folder / "file").read_bytes() == CONTENT


def test_a_killed_stream_leaves_no_object(folder: Location) -> None:
    code = (
        "import sys; from raycxr.storage.location import Location\n"
        "filesystem, path = Location(sys.argv[1]).filesystem()\n"
        "stream = filesystem.open_output_stream(path); stream.write(b'half' * 5_000_000)\n"
        "print('half', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, f"{folder}/half"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.kill()
    assert [one.name for one in folder.list()] == ["file"]
