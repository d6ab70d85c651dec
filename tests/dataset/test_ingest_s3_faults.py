"""Ingest from and into a bucket while the server, the network, the rights or the files give way."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_server import S3Server

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.convert import Rules
from raycxr.dataset.ingest import IngestSummary, ingest, run_here
from raycxr.dataset.manifest import read_manifest, read_rejects
from raycxr.dataset.plan import ShardPlan
from raycxr.errors import DataError, StorageError
from raycxr.sources.synth import write_pairs
from raycxr.storage.failures import MissingBucketError
from raycxr.storage.location import Location
from raycxr.xray.picture import encode_png

pytestmark = pytest.mark.slow

CheckWhole = Callable[[Location, Collection[str], int], None]
Runner = Callable[[Sequence[ShardPlan], Rules, Location], Iterator[dict[str, Any]]]

FILMS = 8
NAMES = [f"phantom{number:04d}" for number in range(1, FILMS + 1)]
OUTAGE_SECONDS = 10
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
COMMAND = [sys.executable, "-c", "from raycxr.cli.main import main; main()", "ingest"]


class Network:
    """The way to a server, byte for byte, which can refuse requests and break off answers.

    Attributes
    ----------
    refusals : int
        Requests answered by 503 so far.
    cuts : int
        Answers broken off so far.
    """

    def __init__(self, server: str) -> None:
        host, port = server.removeprefix("http://").split(":")
        self._server = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._refuse_until = 0.0
        self._refuse_from = b"", 0.0
        self._cut: list[int] = []
        self.refusals = 0
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def refuse(self, seconds: float) -> None:
        """Answer every request by 503 from now on, for some seconds."""
        self._refuse_until = time.monotonic() + seconds

    def refuse_from(self, words: bytes, seconds: float) -> None:
        """Do so when a request with these words comes."""
        self._refuse_from = words, seconds

    def cut(self, *after: int) -> None:
        """Break off as many of the next answers that are longer, each after so many bytes.

        Not after fewer than 40: within the 25 bytes of "100 Continue", which no server sends in two parts, botocore
        would wait for ever.
        """
        self._cut = list(after)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
            while data := _receive(client):
                words, seconds = self._refuse_from
                if words and words in data:
                    self._refuse_from = b"", 0.0
                    self.refuse(seconds)
                if time.monotonic() < self._refuse_until:
                    self.refusals += 1
                    _send(client, UNAVAILABLE)
                    break
                if not _send(server, data):
                    break
            _end(client)
            _end(server)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        while data := _receive(server):
            if self._cut and len(data) > self._cut[0]:
                _send(client, data[: self._cut.pop(0)])
                self.cuts += 1
                break
            if not _send(client, data):
                break
        _end(client)
        _end(server)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b""


def _send(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def network(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """The way to the server that this process, and those that it starts, take from now on."""
    network = Network(s3_server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", network.endpoint)
    yield network
    network.close()


@pytest.fixture(scope="module")
def archive(s3: str) -> str:
    """URI of a folder with eight good films and their masks; tests that change it add to a copy."""
    uri = f"{s3}/{secrets.token_hex(6)}"
    write_pairs(Location(uri), FILMS, 96, 0, lambda done, total: None)
    return uri


@pytest.fixture
def own_archive(archive: str, s3_folder: str) -> str:
    copy_archive(archive, s3_folder)
    return s3_folder


@pytest.fixture(scope="module")
def content(archive: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Content id of the archive."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return run(configure(folder, archive, str(folder / "out"))).id


def copy_archive(source: str, target: str) -> None:
    for file in Location(source).walk():
        (Location(target) / file.uri.removeprefix(f"{source}/")).write_bytes(file.read_bytes())


def configure(folder: Path, archive: str, out: str, *overrides: str) -> Config:
    path = folder / "ingest.yaml"
    path.write_text(
        f"ingest: {{source: pairs, images: '{archive}/images', masks: '{archive}/masks', size: 32, shard_films: 2,"
        f" out: '{out}'}}\n"
    )
    return load_config(path, overrides)


def run(config: Config, runner: Runner = run_here) -> IngestSummary:
    return ingest(config, runner, lambda done, total: None)


def between_shards(act: Callable[[int], None]) -> Runner:
    """Do something after the listing (0) and after every shard (1, 2 ...)."""

    def workers(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        act(0)
        for done, part in enumerate(run_here(plans, rules, out), start=1):
            yield part
            act(done)

    return workers


def test_503_for_ten_seconds(
    network: Network, archive: str, content: str, s3_folder: str, tmp_path: Path, check_whole: CheckWhole
) -> None:
    """In the middle, and for two before the listing."""

    def act(done: int) -> None:
        if done == 2:
            network.refuse(OUTAGE_SECONDS)

    config = configure(tmp_path, archive, s3_folder)
    began = time.monotonic()
    network.refuse(2)
    summary = run(config, between_shards(act))
    assert time.monotonic() - began > 2 + OUTAGE_SECONDS
    assert network.refusals > 4
    assert (summary.id, summary.rejected) == (content, 0)
    check_whole(Location(s3_folder), NAMES, FILMS)


def test_answers_that_break_off(
    network: Network, archive: str, content: str, s3_folder: str, tmp_path: Path, check_whole: CheckWhole
) -> None:
    """In the header of an answer, and in the middle of a film."""

    def act(done: int) -> None:
        network.cut(40, 1500, 3000, 200)

    summary = run(configure(tmp_path, archive, s3_folder), between_shards(act))
    assert network.cuts >= FILMS
    assert (summary.id, summary.rejected) == (content, 0)
    check_whole(Location(s3_folder), NAMES, FILMS)


@pytest.mark.parametrize("role", ["proxy", "object", "container"])
def test_a_server_that_stops_for_some_seconds_while_films_are_read(
    s3_server: S3Server, archive: str, content: str, s3_folder: str, tmp_path: Path, check_whole: CheckWhole, role: str
) -> None:
    timers = []

    def act(done: int) -> None:
        if done == 1:
            # In the middle of the next shard, rather than between two.
            timers.append(threading.Timer(0.05, s3_server.stop, [role]))
            timers.append(threading.Timer(4, s3_server.start, [role]))
            for timer in timers:
                timer.start()

    summary = run(configure(tmp_path, archive, s3_folder), between_shards(act))
    for timer in timers:
        timer.join()
    assert (summary.id, summary.rejected) == (content, 0)
    check_whole(Location(s3_folder), NAMES, FILMS)


def test_keys_that_vanish_between_listing_and_reading(
    own_archive: str, tmp_path: Path, check_whole: CheckWhole
) -> None:
    lost = Location(own_archive) / "images" / f"{NAMES[2]}.png"
    unmasked = Location(own_archive) / "masks" / f"{NAMES[5]}.png"
    (Location(own_archive) / "images" / "empty.png").write_bytes(b"")

    def act(done: int) -> None:
        lost.delete()
        unmasked.delete()

    out = Location(own_archive) / "out"
    run(configure(tmp_path, own_archive, out.uri), between_shards(act))
    check_whole(out, [name for name in NAMES if name not in (NAMES[2], NAMES[5])], FILMS + 1)
    assert {row["original"].rpartition("/")[2]: (row["reason"], row["detail"]) for row in read_rejects(out)} == {
        "empty.png": ("image_unreadable", "not a picture: empty file"),
        f"{NAMES[2]}.png": ("file_missing", f"no such file: {lost}"),
        f"{NAMES[5]}.png": ("file_missing", f"no such file: {unmasked}"),
    }


def test_a_bucket_that_vanishes_is_no_reason_to_reject_its_films(
    s3_server: S3Server, archive: str, s3_folder: str, tmp_path: Path
) -> None:
    """Half of the films would be published as all there are."""
    bucket = f"test-{secrets.token_hex(6)}"
    s3_server.create_bucket(bucket)
    copy_archive(archive, f"s3://{bucket}")

    def act(done: int) -> None:
        if done == 1:
            from raycxr.storage.s3_connection import connection

            for folder in ("images", "masks"):
                (Location(f"s3://{bucket}") / folder).delete_tree()
            connection().client.delete_bucket(Bucket=bucket)

    with pytest.raises(MissingBucketError, match=f"no such bucket: s3://{bucket}"):
        run(configure(tmp_path, f"s3://{bucket}", s3_folder), between_shards(act))
    with pytest.raises(DataError, match="holds no finished data set"):
        read_manifest(Location(s3_folder))


def ingest_by_command(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, str(path), "--json", *options], capture_output=True, text=True, timeout=120)


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failure is told in; standard output holds one document, and nothing holds the secret."""
    assert done.returncode == 1
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "storage"
    assert error["remedy"]
    assert done.stderr.splitlines()[-2:] == [f"raycxr: {error['message']}", f"        {error['remedy']}"]
    return str(error["message"])


def test_a_wrong_secret(archive: str, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path, archive, s3_folder)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-" + secrets.token_hex(8))
        for debug in ((), ("--debug",)):
            began = time.monotonic()
            message = told(ingest_by_command(tmp_path / "ingest.yaml", "--local", *debug))
            assert time.monotonic() - began < 20
            assert message.startswith("credentials refused: cannot ")
    assert not Location(s3_folder).exists()


@pytest.mark.parametrize("key", ["images", "masks", "out"])
def test_no_such_bucket(s3_server: S3Server, archive: str, s3_folder: str, tmp_path: Path, key: str) -> None:
    configure(tmp_path, archive, s3_folder)
    began = time.monotonic()
    done = ingest_by_command(tmp_path / "ingest.yaml", "--local", f"ingest.{key}=s3://test-nowhere/there")
    assert time.monotonic() - began < 20
    assert told(done) == f"no such bucket: s3://test-nowhere at {s3_server.endpoint}"
    assert not Location(s3_folder).exists()


def test_a_secret_that_is_changed_on_the_way(
    archive: str, content: str, s3_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_whole: CheckWhole
) -> None:
    config = configure(tmp_path, archive, s3_folder)
    with monkeypatch.context() as patch:

        def act(done: int) -> None:
            if done == 2:
                patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-" + secrets.token_hex(8))

        # Where only the head of an object is asked for, the answer holds no word on why it is refused.
        with pytest.raises(StorageError, match=r"credentials refused|no right to .* \(403\) - check the credentials"):
            run(config, between_shards(act))
    with pytest.raises(DataError, match="holds no finished data set"):
        read_manifest(Location(s3_folder))
    summary = run(config)
    assert (summary.id, summary.rejected, summary.skipped) == (content, 0, 4)
    check_whole(Location(s3_folder), NAMES, FILMS)


def test_killed_and_grown_in_a_bucket(
    own_archive: str, content: str, s3_folder: str, tmp_path: Path, check_whole: CheckWhole
) -> None:
    """Two kills, then the end; then a film more, and a kill, and the end again."""
    out = Location(own_archive) / "out"
    later = Location(own_archive) / "images" / f"{NAMES[4]}.png"
    film = later.read_bytes()
    later.delete()
    configure(tmp_path, own_archive, out.uri, "ingest.shard_films=1")
    command = [*COMMAND, str(tmp_path / "ingest.yaml"), "--local", "--json", "ingest.shard_films=1"]

    def written(folder: str, number: int) -> bool:
        files = (out / folder).list() if (out / folder).is_dir() else []
        return any(file.name.startswith(f"{number:05d}-") and file.suffix != ".begun" for file in files)

    def kill_after(folder: str, number: int) -> None:
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as job:
            while job.poll() is None and not written(folder, number):
                time.sleep(0.005)
            os.killpg(job.pid, signal.SIGKILL)
        assert job.returncode == -signal.SIGKILL

    def finish() -> Any:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for folder, number in (("shards", 0), ("parts", 3)):
        kill_after(folder, number)
        with pytest.raises(DataError, match="holds no finished data set"):
            read_manifest(out)
    first = finish()
    assert first["skipped"] >= 4
    check_whole(out, [name for name in NAMES if name != NAMES[4]], FILMS)
    later.write_bytes(film)
    (Location(own_archive) / "images" / "more.png").write_bytes(encode_png(np.tri(96, dtype=np.uint8) * 99))
    kill_after("shards", 8)
    (Location(own_archive) / "images" / "more.png").delete()
    grown = finish()
    assert (grown["id"], grown["images"], grown["skipped"]) == (content, FILMS, FILMS - 1)
    check_whole(out, NAMES, FILMS)


def test_a_cluster_outlasts_503_for_ten_seconds(
    network: Network, own_archive: str, content: str, tmp_path: Path, check_whole: CheckWhole
) -> None:
    """Over a bucket with bad films; it begins when the first shard is written."""
    bad = {"empty.png": b"", "text.png": b"<Error><Code>NoSuchKey</Code></Error>"}
    for name, data in bad.items():
        (Location(own_archive) / "images" / name).write_bytes(data)
    out = Location(own_archive) / "out"
    configure(tmp_path, own_archive, out.uri)
    network.refuse_from(b"/out/shards/", OUTAGE_SECONDS)
    began = time.monotonic()
    done = ingest_by_command(tmp_path / "ingest.yaml")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began > OUTAGE_SECONDS
    assert network.refusals > 2
    document = json.loads(done.stdout)
    assert (document["id"], document["rejects"]) == (content, {"image_unreadable": len(bad)})
    check_whole(out, NAMES, FILMS + len(bad))
