"""Published folders: whole and verified, or refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycxr.errors import DataError, StorageError, UsageError
from raycxr.storage.failures import MissingError
from raycxr.storage.fetch import fetch_verified
from raycxr.storage.location import Location
from raycxr.storage.publish import publish, read_marker, sha256_of

MARKER = "bundle.json"
FILES: dict[str, bytes | Path] = {"model.safetensors": bytes(range(256)) * 40, "inner/config.yaml": b"a: 1\n"}


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "local":
        return Location(tmp_path / "published")
    return Location(str(request.getfixturevalue("s3_folder")))


@pytest.fixture
def bundle(tmp_path: Path) -> Location:
    location = Location(tmp_path / "bundle")
    publish(FILES, location, MARKER, {"format": 1})
    return location


def test_what_is_published_is_fetched(place: Location, tmp_path: Path) -> None:
    (tmp_path / "metrics").write_bytes(b"{}")
    publish({**FILES, "metrics.json": tmp_path / "metrics"}, place, MARKER, {"format": 1, "name": "Ü"})
    marker = read_marker(place, MARKER)
    assert marker["format"] == 1
    assert marker["name"] == "Ü"
    assert marker["files"] == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in {**FILES, "metrics.json": b"{}"}.items()
        if isinstance(content, bytes)
    }
    assert fetch_verified(place, MARKER, tmp_path / "new" / "here") == marker
    fetched = Location(tmp_path / "new" / "here")
    assert (fetched / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert (fetched / "inner/config.yaml").read_bytes() == b"a: 1\n"
    assert read_marker(fetched, MARKER) == marker
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["here"]


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.text("abcü_-. ", min_size=1).filter(lambda name: set(name) != {"."}), st.binary(), max_size=4)
)
def test_any_content_survives_publication(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("any")
    publish(files, Location(folder / "published"), MARKER, {})
    fetch_verified(Location(folder / "published"), MARKER, folder / "fetched")
    names = {one.name for one in (folder / "fetched").iterdir()}
    assert names == {*files, MARKER}
    assert all((folder / "fetched" / name).read_bytes() == content for name, content in files.items())


def test_sha256_of_bytes_and_files_agree(tmp_path: Path) -> None:
    # FIPS 180-4, the example of one block.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(b"abc") == sha256_of(tmp_path / "abc") == digest
    with pytest.raises(MissingError, match="absent"):
        sha256_of(tmp_path / "absent")


def test_a_publisher_killed_between_files_leaves_no_bundle(place: Location, tmp_path: Path) -> None:
    publish(FILES, place, MARKER, {})
    code = (
        "import sys; from raycxr.storage.location import Location; from raycxr.storage.publish import publish\n"
        "files = {f'file-{i}': bytes(1000) for i in range(20000)}\n"
        f"publish(files, Location(sys.argv[1]), {MARKER!r}, {{}})"
    )
    with subprocess.Popen([sys.executable, "-c", code, place.uri]) as publisher:
        deadline = time.monotonic() + 60
        while not (place / "file-3").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        publisher.kill()
    assert (place / "file-3").exists()
    with pytest.raises(DataError, match=f"no {MARKER}: half-written"):
        read_marker(place, MARKER)
    with pytest.raises(DataError):
        fetch_verified(place, MARKER, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_failed_publication_takes_the_old_marker_away(bundle: Location, tmp_path: Path) -> None:
    (Path(bundle.uri) / "taken").mkdir()
    with pytest.raises(StorageError):
        publish({**FILES, "taken": b"1"}, bundle, MARKER, {})
    with pytest.raises(DataError):
        read_marker(bundle, MARKER)


def test_a_publication_without_its_files_touches_nothing(bundle: Location, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="absent"):
        publish({"a": b"1", "b": tmp_path / "absent"}, bundle, MARKER, {})
    assert fetch_verified(bundle, MARKER, tmp_path / "fetched")["format"] == 1


def test_a_flipped_byte_is_refused(place: Location, tmp_path: Path) -> None:
    publish(FILES, place, MARKER, {})
    damaged = bytearray((place / "model.safetensors").read_bytes())
    damaged[1234] ^= 1
    (place / "model.safetensors").write_bytes(bytes(damaged))
    with pytest.raises(DataError, match=r"model\.safetensors is damaged") as caught:
        fetch_verified(place, MARKER, tmp_path / "to" / "fetched")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "to").iterdir()) == []


def test_a_missing_file_is_refused(bundle: Location, tmp_path: Path) -> None:
    (bundle / "inner/config.yaml").delete()
    with pytest.raises(StorageError, match=r"inner/config\.yaml"):
        fetch_verified(bundle, MARKER, tmp_path / "to" / "fetched")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "lists no files"),
        ("{}", "lists no files"),
        ('{"files": []}', "lists no files"),
        ('{"files": {"a": {}}}', "no sha256 for 'a'"),
        ('{"files": {"a": {"sha256": "12", "bytes": 1}}}', "no sha256 for 'a'"),
        ('{"files": {"a": {"sha256": "' + 64 * "0" + '"}}}', "no number of bytes for 'a'"),
    ],
)
def test_a_malformed_marker_is_refused(bundle: Location, tmp_path: Path, text: str, message: str) -> None:
    (bundle / MARKER).write_text(text)
    with pytest.raises(DataError, match=message):
        read_marker(bundle, MARKER)


@pytest.mark.parametrize("name", ["../stolen", "/etc/stolen", "a/../../stolen", "a//b", "./a", "", ".."])
def test_no_name_leads_out_of_the_folder(bundle: Location, tmp_path: Path, name: str) -> None:
    entry = {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0}
    (bundle / MARKER).write_text(json.dumps({"files": {name: entry}}))
    (tmp_path / "stolen").write_bytes(b"")
    with pytest.raises(DataError, match="leads out of its folder"):
        fetch_verified(bundle, MARKER, tmp_path / "fetched")
    with pytest.raises(UsageError):
        publish({name: b""}, bundle, MARKER, {})
    assert not (tmp_path / "fetched").exists()


def test_the_marker_is_its_publishers_own(bundle: Location) -> None:
    with pytest.raises(UsageError):
        publish({MARKER: b"{}"}, bundle, MARKER, {})
    with pytest.raises(UsageError):
        publish({"a": b""}, bundle, MARKER, {"files": {}})


def test_fetching_twice_changes_nothing(bundle: Location, tmp_path: Path) -> None:
    there = tmp_path / "fetched"
    there.mkdir()
    first = fetch_verified(bundle, MARKER, there)
    before = {one: one.stat().st_mtime_ns for one in there.rglob("*")}
    assert fetch_verified(bundle, MARKER, there) == first
    assert {one: one.stat().st_mtime_ns for one in there.rglob("*")} == before


@pytest.mark.parametrize("inside", ["other.txt", "model.safetensors", MARKER])
def test_a_folder_that_holds_something_else_is_left_alone(bundle: Location, tmp_path: Path, inside: str) -> None:
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / inside).write_bytes(b"mine")
    with pytest.raises(StorageError, match="holds something else"):
        fetch_verified(bundle, MARKER, tmp_path / "fetched")
    assert [one.name for one in (tmp_path / "fetched").iterdir()] == [inside]
    assert (tmp_path / "fetched" / inside).read_bytes() == b"mine"


def test_a_damaged_copy_is_not_taken_for_the_same(bundle: Location, tmp_path: Path) -> None:
    fetch_verified(bundle, MARKER, tmp_path / "fetched")
    (tmp_path / "fetched" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(StorageError, match="holds something else"):
        fetch_verified(bundle, MARKER, tmp_path / "fetched")


def test_workers_may_fetch_the_same_folder_at_once(bundle: Location, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from raycxr.storage.location import Location\n"
        "from raycxr.storage.fetch import fetch_verified\n"
        f"fetch_verified(Location(sys.argv[1]), {MARKER!r}, Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, bundle.uri, str(tmp_path / "cache" / "bundle")]
    workers = [subprocess.Popen(command) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    assert [one.name for one in (tmp_path / "cache").iterdir()] == ["bundle"]
