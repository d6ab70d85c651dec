"""A fetch that breaks off goes on where it was; whatever lies there, only what is verified appears."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from s3_server import S3Server

from raycxr.errors import DataError, StorageError
from raycxr.storage.failures import MissingError
from raycxr.storage.fetch import fetch_verified
from raycxr.storage.local import TEMPORARY_PREFIX
from raycxr.storage.location import Location
from raycxr.storage.patience import patience
from raycxr.storage.publish import publish
from raycxr.storage.s3_download import PIECE_BYTES

MARKER = "bundle.json"
CONTENT = os.urandom(5 * PIECE_BYTES + 12345)
LARGE = 64 * PIECE_BYTES + 1

FETCH = (
    "import sys; from pathlib import Path; from raycxr.storage.location import Location\n"
    "from raycxr.storage.fetch import fetch_verified\n"
    f"fetch_verified(Location(sys.argv[1]), {MARKER!r}, Path(sys.argv[2]), lambda line: print(line, flush=True))"
)


@pytest.fixture
def bundle(tmp_path: Path) -> Location:
    location = Location(tmp_path / "bundle")
    publish({"config.yaml": b"a: 1\n", "inner/weights": CONTENT}, location, MARKER, {"format": 1})
    return location


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def broken_off(bundle: Location, destination: Path, size: int = 3 * PIECE_BYTES) -> Path:
    """Break a fetch off after so many bytes of the weights; return what it has left of them."""
    with files_end_at(size), pytest.raises(StorageError, match="cannot write"):
        fetch_verified(bundle, MARKER, destination)
    assert not destination.exists()
    (partial,) = destination.parent.glob(f"{TEMPORARY_PREFIX}*/files/inner/weights")
    assert partial.stat().st_size == size
    return partial


def holds_all(folder: Path) -> bool:
    """Whether everything has arrived, and nothing lies beside it."""
    assert list(folder.parent.glob(f"{TEMPORARY_PREFIX}*")) == []
    return (folder / "inner/weights").read_bytes() == CONTENT and (folder / MARKER).exists()


def test_a_second_call_goes_on_where_the_first_broke_off(bundle: Location, tmp_path: Path) -> None:
    there = tmp_path / "there"
    broken_off(bundle, there)
    # Whoever reads the beginning once more, meets a source that is damaged.
    with (bundle / "inner/weights").local_path.open("r+b") as file:
        file.write(b"damaged")
    told: list[str] = []
    fetch_verified(bundle, MARKER, there, told.append)
    assert holds_all(there)
    assert told == ["goes on from what an earlier attempt has left"]


@pytest.mark.parametrize("left", [b"damaged" * 1000, CONTENT + b"more", CONTENT[:-1] + b"~", b""])
def test_a_partial_that_does_not_verify_is_fetched_again(bundle: Location, tmp_path: Path, left: bytes) -> None:
    there = tmp_path / "there"
    broken_off(bundle, there).write_bytes(left)
    fetch_verified(bundle, MARKER, there)
    assert holds_all(there)


def test_a_damaged_source_is_refused_after_the_second_try(bundle: Location, tmp_path: Path) -> None:
    there = tmp_path / "to" / "there"
    there.parent.mkdir()
    broken_off(bundle, there).write_bytes(b"damaged")
    with (bundle / "inner/weights").local_path.open("r+b") as file:
        file.write(b"damaged")
    with pytest.raises(DataError, match=r"inner/weights is damaged"):
        fetch_verified(bundle, MARKER, there)
    assert list(there.parent.iterdir()) == []


def test_a_source_that_was_replaced_meanwhile_is_told(bundle: Location, tmp_path: Path) -> None:
    """By the marker, which a killed replacement takes away first and writes last."""
    there = tmp_path / "there"
    broken_off(bundle, there)
    (bundle / MARKER).delete()
    with pytest.raises(DataError, match="half-written"):
        fetch_verified(bundle, MARKER, there)
    publish({"config.yaml": b"a: 2\n", "inner/weights": CONTENT[::-1]}, bundle, MARKER, {"format": 1})
    fetch_verified(bundle, MARKER, there)
    assert (there / "inner/weights").read_bytes() == CONTENT[::-1]
    assert list(tmp_path.glob(f"{TEMPORARY_PREFIX}*")) == []  # what was left of the older content is gone, too


def test_fetches_into_two_folders_do_not_meet(bundle: Location, tmp_path: Path) -> None:
    partial = broken_off(bundle, tmp_path / "one")
    fetch_verified(bundle, MARKER, tmp_path / "other")
    assert partial.exists()
    fetch_verified(bundle, MARKER, tmp_path / "one")
    assert holds_all(tmp_path / "one")
    assert holds_all(tmp_path / "other")


def test_a_waiting_fetch_takes_over_from_one_that_is_killed(bundle: Location, tmp_path: Path) -> None:
    """The first stops for good before its weights: they are a pipe into which nobody writes."""
    there = tmp_path / "there"
    weights = (bundle / "inner/weights").local_path
    weights.rename(tmp_path / "kept")
    os.mkfifo(weights)
    first = subprocess.Popen([sys.executable, "-c", FETCH, bundle.uri, str(there)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*/files/config.yaml")) and time.monotonic() < deadline:
        time.sleep(0.01)
    told: list[str] = []

    def kill() -> None:
        while not told:
            time.sleep(0.01)
        weights.unlink()
        (tmp_path / "kept").rename(weights)
        first.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    fetch_verified(bundle, MARKER, there, told.append)
    killer.join()
    assert first.wait() == -signal.SIGKILL
    assert told[0] == f"waits for another fetch into {there}"
    assert holds_all(there)


def test_a_lock_on_a_folder_that_was_removed_is_none(bundle: Location, tmp_path: Path) -> None:
    """Its owner removes the folder with the lock, and a third fetch makes it anew before the waiting one wakes."""
    there = tmp_path / "there"
    hidden = broken_off(bundle, there).parents[2]
    told: list[str] = []
    with ThreadPoolExecutor(1) as threads, (hidden / "lock").open() as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        waiting = threads.submit(fetch_verified, bundle, MARKER, there, told.append)
        while not told and not waiting.done():
            time.sleep(0.01)
        shutil.rmtree(hidden)
        hidden.mkdir()
        with (hidden / "lock").open("w") as third:
            fcntl.flock(third, fcntl.LOCK_EX)
            fcntl.flock(owner, fcntl.LOCK_UN)
            time.sleep(0.3)
            assert not there.exists()
        waiting.result(timeout=60)
    assert holds_all(there)
    assert told == [f"waits for another fetch into {there}"]


def test_a_place_that_was_taken_meanwhile_is_left_alone(bundle: Location, tmp_path: Path) -> None:
    """By a fetch of something else, while the first waits for a lock that this test holds."""
    there = tmp_path / "there"
    hidden = broken_off(bundle, there).parents[2]
    publish({"config.yaml": b"a: 3\n"}, Location(tmp_path / "other"), MARKER, {})
    command = [sys.executable, "-c", FETCH, bundle.uri, str(there)]
    with (hidden / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert first.stdout is not None
        assert first.stdout.readline() == f"waits for another fetch into {there}\n"
        fetch_verified(Location(tmp_path / "other"), MARKER, there)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "there holds something else already" in told
    assert (there / "config.yaml").read_bytes() == b"a: 3\n"
    assert list(tmp_path.glob(f"{TEMPORARY_PREFIX}*")) == []


def test_a_missing_file_leaves_nothing(bundle: Location, tmp_path: Path) -> None:
    there = tmp_path / "to" / "there"
    there.parent.mkdir()
    broken_off(bundle, there)
    (bundle / "inner/weights").delete()
    with pytest.raises(MissingError, match="inner/weights"):
        fetch_verified(bundle, MARKER, there)
    assert list(there.parent.iterdir()) == []


class SlowLine:
    """A line to a server that carries so many bytes a second from it, and counts them; None: as fast as it goes."""

    def __init__(self, endpoint: str) -> None:
        self.server = urlsplit(endpoint)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lock = threading.Lock()
        self.bytes_per_second: float | None = None
        self.carried = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                try:
                    server = socket.create_connection((self.server.hostname or "", self.server.port or 0))
                except ConnectionRefusedError:
                    client.close()
                    continue
                threading.Thread(target=self._carry, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._carry, args=(server, client, True), daemon=True).start()

    def _carry(self, source: socket.socket, destination: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if counted:
                    with self.lock:
                        self.carried += len(data)
                        if self.bytes_per_second is not None:
                            time.sleep(len(data) / self.bytes_per_second)
                destination.sendall(data)
        # Closing alone would tell nobody while the other thread still reads.
        for end in (source, destination):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLine]:
    """A line to the session's server, which the ``AWS_*`` variables name."""
    line = SlowLine(s3_server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
    yield line
    line.listener.close()


@pytest.mark.slow
def test_a_pull_from_s3_that_is_killed_goes_on(
    s3_folder: str, line: SlowLine, tmp_path: Path, make_run: Callable[..., Location]
) -> None:
    content, there = os.urandom(LARGE), tmp_path / "there"
    make_run(Location(s3_folder), "run", 0.9, weights=content)
    pull = [sys.executable, "-c", "from raycxr.cli.main import main; main()", "pull", s3_folder, str(there)]
    line.bytes_per_second, line.carried = 40e6, 0
    for kill_after in (LARGE // 3, LARGE // 2):
        with subprocess.Popen(pull) as pulling:
            while line.carried < kill_after and pulling.poll() is None:
                time.sleep(0.005)
            pulling.kill()
        assert pulling.returncode == -signal.SIGKILL
        assert not there.exists()
    line.bytes_per_second = None
    done = subprocess.run(pull, capture_output=True, text=True, check=True)
    assert "goes on from what an earlier attempt has left" in done.stderr
    assert (there / "model.safetensors").read_bytes() == content
    # Each kill costs the piece that each reader had not yet finished, and what was on the line.
    assert LARGE < line.carried < LARGE + 2 * 20 * PIECE_BYTES
    assert list(tmp_path.glob(f"{TEMPORARY_PREFIX}*")) == []


@pytest.mark.slow
def test_what_is_left_of_a_fetch_from_s3_is_not_trusted(s3_folder: str, line: SlowLine, tmp_path: Path) -> None:
    content = os.urandom(LARGE)
    place, there = Location(s3_folder) / "best", tmp_path / "there"
    publish({"weights": content}, place, MARKER, {})
    with files_end_at(LARGE // 2), pytest.raises(StorageError, match="cannot write"):
        fetch_verified(place, MARKER, there)
    (partial,) = tmp_path.glob(f"{TEMPORARY_PREFIX}*/files/weights")
    with partial.open("r+b") as file:
        file.write(bytes(LARGE // 4))
    fetch_verified(place, MARKER, there)
    assert (there / "weights").read_bytes() == content


@contextmanager
def amid_the_fetch(line: SlowLine, act: Callable[[], None]) -> Iterator[None]:
    """Do something when half of a large file has come."""

    def wait_and_act() -> None:
        while line.carried < LARGE // 2:
            time.sleep(0.005)
        act()

    actor = threading.Thread(target=wait_and_act)
    actor.start()
    try:
        yield
    finally:
        actor.join()


@pytest.mark.slow
def test_an_outage_amid_a_fetch_costs_nothing(
    s3_server: S3Server, s3_folder: str, line: SlowLine, tmp_path: Path
) -> None:
    content = os.urandom(LARGE)
    place, there = Location(s3_folder) / "best", tmp_path / "there"
    publish({"weights": content}, place, MARKER, {})
    line.bytes_per_second, line.carried = 40e6, 0

    def interrupt() -> None:
        s3_server.stop("object")
        time.sleep(3)
        s3_server.start("object")

    with amid_the_fetch(line, interrupt):
        fetch_verified(place, MARKER, there)
    assert (there / "weights").read_bytes() == content
    assert line.carried < LARGE + 20 * PIECE_BYTES


@pytest.mark.slow
def test_a_fetch_that_is_given_up_is_kept(s3_server: S3Server, s3_folder: str, line: SlowLine, tmp_path: Path) -> None:
    content = os.urandom(LARGE)
    place, there = Location(s3_folder) / "best", tmp_path / "there"
    publish({"weights": content}, place, MARKER, {})
    line.bytes_per_second, line.carried = 40e6, 0

    try:
        with (
            amid_the_fetch(line, lambda: s3_server.stop("proxy")),
            patience(1),
            pytest.raises(StorageError, match="cannot reach"),
        ):
            fetch_verified(place, MARKER, there)
    finally:
        s3_server.start("proxy")
    assert not there.exists()
    line.bytes_per_second, line.carried = None, 0
    fetch_verified(place, MARKER, there)
    assert (there / "weights").read_bytes() == content
    assert line.carried < LARGE * 3 // 4


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 9 * PIECE_BYTES - 1, 17 * PIECE_BYTES])
def test_any_size_comes_in_ranges(s3_folder: str, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    place = Location(s3_folder) / "object"
    place.write_bytes(content)
    place.continue_to(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["copy"]


@pytest.mark.slow
def test_pieces_that_are_here_are_not_asked_for(s3_folder: str, tmp_path: Path) -> None:
    content = os.urandom(11 * PIECE_BYTES + 5)
    place, copy = Location(s3_folder) / "object", tmp_path / "copy"
    place.write_bytes(content)
    here = (0, 4, 5, 9, 11)
    with copy.open("wb") as file:
        for piece in here:
            file.seek(piece * PIECE_BYTES)
            file.write(bytes(len(content[piece * PIECE_BYTES :][:PIECE_BYTES])))
    (tmp_path / f"{TEMPORARY_PREFIX}copy").write_text("".join(f"{piece}\n" for piece in here))
    place.continue_to(copy)
    found = copy.read_bytes()
    assert len(found) == len(content)
    for piece in range(12):
        part = slice(piece * PIECE_BYTES, (piece + 1) * PIECE_BYTES)
        assert (found[part] == content[part]) == (piece not in here), piece


@pytest.mark.slow
def test_a_missing_object_leaves_no_copy(s3_folder: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="absent"):
        (Location(s3_folder) / "absent").continue_to(tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
