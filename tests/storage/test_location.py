"""Locations: the same behaviour over folders and over buckets."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycxr.errors import StorageError, UsageError
from raycxr.storage.failures import MissingError, local_failures
from raycxr.storage.local import TEMPORARY_PREFIX, replacing
from raycxr.storage.location import Location

names = st.text("abc-_.é 0", min_size=1, max_size=8).filter(lambda name: set(name) != {"."})


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "local":
        return Location(tmp_path / "place")
    return Location(str(request.getfixturevalue("s3_folder")))


@pytest.mark.parametrize(
    ("given_uri", "uri", "name", "parent"),
    [
        ("s3://bucket", "s3://bucket", "bucket", "s3://bucket"),
        ("s3://bucket//a/./b/", "s3://bucket/a/b", "b", "s3://bucket/a"),
        ("s3:/bucket/a", "s3://bucket/a", "a", "s3://bucket"),
        ("/x/../y/film.IMG", "/y/film.IMG", "film.IMG", "/y"),
        ("file:///y/z", "/y/z", "z", "/y"),
        ("/", "/", "", "/"),
    ],
)
def test_a_location_is_named_in_one_way(given_uri: str, uri: str, name: str, parent: str) -> None:
    location = Location(given_uri)
    assert (str(location), location.name, str(location.parent)) == (uri, name, parent)
    assert Location(location) == location == Location(Path(given_uri) if name != "z" else uri)


def test_relative_paths_and_home_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "reader"))
    assert Location("runs/a").local_path == tmp_path / "runs" / "a"
    assert Location("~/films").local_path == tmp_path / "reader" / "films"


@pytest.mark.parametrize("uri", ["", "gs://bucket/a", "https://host/a", "s3://", "s3://bucket/../a", "a\0b"])
def test_other_storage_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        Location(uri)
    assert "s3://bucket" in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["..", "a/../../b", "/etc/passwd", "", "."])
def test_a_name_never_leads_out_of_its_folder(name: str) -> None:
    for root in ("/data/x", "s3://bucket/x"):
        with pytest.raises(UsageError):
            Location(root) / name


@given(st.sampled_from(["/data", "s3://bucket", "s3://bucket/a"]), st.lists(names, min_size=1, max_size=4))
def test_joining_and_parent_are_inverse(root: str, parts: list[str]) -> None:
    location = Location(root)
    for part in parts:
        inner = location / part
        assert (inner.name, inner.parent) == (part, location)
        assert inner.stem + inner.suffix == part
        location = inner
    assert location == Location(root) / "/".join(parts) == Location(location.uri)
    assert pickle.loads(pickle.dumps(location)) == location
    assert len({location, Location(location.uri)}) == 1


def test_only_local_places_have_a_path(tmp_path: Path) -> None:
    assert Location(tmp_path).is_local
    assert not Location("s3://bucket/a").is_local
    with pytest.raises(StorageError, match="s3://bucket/a is not on this machine"):
        _ = Location("s3://bucket/a").local_path


def test_naming_places_loads_nothing_heavy() -> None:
    code = (
        "import sys, raycxr.storage.location, raycxr.storage.publish, raycxr.storage.check\n"
        "raycxr.storage.location.Location('s3://bucket/a') / 'b'\n"
        "print([name for name in ('torch', 'ray', 'boto3', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_bytes_and_text_come_back(place: Location) -> None:
    file = place / "deep" / "er" / "a.bin"
    assert not file.exists()
    file.write_bytes(bytes(range(256)))
    assert file.read_bytes() == bytes(range(256))
    assert file.size() == 256
    file.write_text("größer")
    assert file.read_text() == "größer"
    file.write_bytes(b"")
    assert (file.read_bytes(), file.size(), file.is_file(), file.is_dir()) == (b"", 0, True, False)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(StorageError, match=r"a\.bin is not UTF-8"):
        file.read_text()


def test_folders_exist_through_their_files(place: Location) -> None:
    (place / "folder" / "file").write_bytes(b"1")
    assert (place / "folder").is_dir()
    assert (place / "folder").exists()
    assert not (place / "folder").is_file()
    assert not (place / "fold").exists()


def test_listing_is_sorted_and_the_same_everywhere(place: Location) -> None:
    for name in ("b", "a/x", "a/y/z", "a-b", "a.c", "Ü", f"{TEMPORARY_PREFIX}0123/hidden", f"a/{TEMPORARY_PREFIX}1"):
        (place / name).write_bytes(name.encode())
    assert [one.name for one in place.list()] == ["a", "a-b", "a.c", "b", "Ü"]
    found = [one.uri.removeprefix(place.uri + "/") for one in place.walk()]
    assert found == ["a-b", "a.c", "a/x", "a/y/z", "b", "Ü"]
    assert [one.read_bytes().decode() for one in place.walk()] == found


def test_what_is_missing_is_named(place: Location) -> None:
    missing = place / "none"
    for use in (missing.read_bytes, missing.size, missing.list, lambda: list(missing.walk()), missing.open_input):
        with pytest.raises(MissingError) as caught:
            use()
        assert missing.uri in caught.value.message
        assert "\n" not in str(caught.value)
    missing.delete()
    missing.delete_tree()


def test_a_file_is_no_folder(place: Location) -> None:
    (place / "file").write_bytes(b"1")
    with pytest.raises(StorageError, match="file"):
        (place / "file").list()


def test_deleting_takes_one_file_or_a_whole_folder(place: Location) -> None:
    for name in ("run/a", "run/b/c", "runs"):
        (place / name).write_bytes(b"1")
    (place / "run" / "a").delete()
    assert [one.name for one in (place / "run").walk()] == ["c"]
    (place / "run").delete_tree()
    assert [one.name for one in place.list()] == ["runs"]


@pytest.mark.parametrize("uri", ["/", "s3://bucket"])
def test_a_whole_disk_or_bucket_is_never_deleted(uri: str) -> None:
    with pytest.raises(StorageError, match="will not delete the whole"):
        Location(uri).delete_tree()


def test_copies_go_both_ways(place: Location, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "from").write_bytes(content)
    (place / "copy").copy_from(tmp_path / "from")
    assert (place / "copy").size() == 3_000_000
    (place / "copy").continue_to(tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == content
    with pytest.raises(MissingError, match="absent"):
        (place / "x").copy_from(tmp_path / "absent")
    with pytest.raises(MissingError, match="nothing"):
        (place / "nothing").continue_to(tmp_path / "kept_away")
    assert not (tmp_path / "kept_away").exists()
    assert [one for one in tmp_path.glob("*") if one.name.startswith(TEMPORARY_PREFIX)] == []


def test_parquet_is_read_and_written(place: Location) -> None:
    table = pyarrow.table({"id": ["a", "b"], "image": [b"1" * 1000, None]})
    filesystem, path = (place / "shards" / "0.parquet").filesystem()
    if place.is_local:
        (place / "shards" / "made").write_bytes(b"")
    pyarrow.parquet.write_table(table, path, filesystem=filesystem)
    assert pyarrow.parquet.read_table(path, filesystem=pickle.loads(pickle.dumps(filesystem))) == table
    with (place / "shards" / "0.parquet").open_input() as file:
        assert pyarrow.parquet.ParquetFile(file).read() == table
        file.seek(0)
        assert file.read(4) == b"PAR1"
        file.seek(-4, 2)
        assert file.read() == b"PAR1"


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file_or_the_new(place: Location) -> None:
    size = 80 << 20  # more than one part of an upload
    file = place / "checkpoint"
    file.write_bytes(b"old")
    code = (
        "import sys; from raycxr.storage.location import Location\n"
        f"data = b'n' * {size}; file = Location(sys.argv[1]); print('ready', flush=True)\n"
        "while True: file.write_bytes(data)"
    )
    whole = {b"old": 0, b"n" * size: 0}
    for delay in (0.02, 0.2, 0.7):
        with subprocess.Popen([sys.executable, "-c", code, file.uri], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        whole[file.read_bytes()] += 1
        assert [one.name for one in place.list()] == ["checkpoint"]
    assert sum(whole.values()) == 3


@pytest.mark.parametrize("folder", ["/sys", "/proc"])
def test_a_place_without_rights_is_told_in_one_line(folder: str) -> None:
    with pytest.raises(StorageError) as caught:
        (Location(folder) / "raycxr-test" / "file").write_bytes(b"1")
    assert f"{folder}/raycxr-test/file" in caught.value.message
    assert "\n" not in str(caught.value)
    assert "choose another place" in caught.value.remedy


@pytest.mark.parametrize("action", ["read", "write", "list", "delete"])
@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_whatever_fails_there_is_something_to_do(number: int, action: str) -> None:
    def fail() -> None:
        with local_failures(action, "/place/file"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(StorageError) as caught:
        fail()
    assert "/place/file" in caught.value.message
    assert caught.value.remedy
    assert action != "write" or "correct the path" not in caught.value.remedy


def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="it is a device or a pipe"):
        Location(tmp_path / "pipe").write_bytes(b"1")
    assert (tmp_path / "pipe").is_fifo()
    assert list(tmp_path.iterdir()) == [tmp_path / "pipe"]


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(StorageError, match="is a file"):
        (Location(tmp_path) / "file" / "inner").write_bytes(b"1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="it is a folder"):
        Location(tmp_path / "folder").read_bytes()
    with pytest.raises(StorageError, match="folder"):
        Location(tmp_path / "folder").write_bytes(b"1")
    assert list((tmp_path / "folder").iterdir()) == []


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "films" / "below").mkdir(parents=True)
    (tmp_path / "films" / "below" / "a.dcm").write_bytes(b"a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.dcm").write_bytes(b"b")
    (tmp_path / "films" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "films" / "below" / "up").symlink_to("..")
    (tmp_path / "films" / "self").symlink_to(".")
    names = [file.uri.removeprefix(f"{tmp_path}/films/") for file in Location(tmp_path / "films").walk()]
    assert [name for name in names if name.endswith(".dcm")] == ["below/a.dcm", "linked/b.dcm"]
