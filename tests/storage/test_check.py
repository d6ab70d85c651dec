"""The question whether a place can be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.errors import StorageError
from raycxr.storage.check import check_writable
from raycxr.storage.location import Location


def test_a_good_place_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"1")
    check_writable(Location(tmp_path))
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
    check_writable(Location(tmp_path / "not" / "yet"))


def test_a_file_is_no_place_for_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(StorageError) as caught:
        check_writable(Location(tmp_path / "file"))
    assert f"cannot write {tmp_path / 'file'}: " in caught.value.message


def test_a_place_without_rights_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        check_writable(Location("/sys"))
    assert caught.value.message.endswith("/sys") or "/sys: " in caught.value.message
    assert ".part-" not in str(caught.value)


@pytest.mark.slow
def test_a_bucket_is_left_as_it_was(s3_folder: str) -> None:
    folder = Location(s3_folder)
    (folder / "mine").write_bytes(b"1")
    check_writable(folder)
    check_writable(folder.parent)
    assert [one.name for one in folder.walk()] == ["mine"]
