"""Films to be predicted have names of their own, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.config.load import load_config
from raycxr.errors import DataError, UsageError
from raycxr.prediction.inputs import kinds, list_inputs


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_folders_are_searched_to_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/1.dcm", "a/deep/2.JPG", "notes.txt", "a/IM00001", ".hidden/x.csv")
    films = list_inputs([str(tmp_path)])
    assert [film.name for film in films] == ["a/1", "a/IM00001", "a/deep/2", "b"]
    assert films[0].uri == str(tmp_path / "a/1.dcm")
    assert kinds(films) == "4 files"


def test_copies_beside_a_film_keep_their_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "1.dcm", "1.png")
    assert [film.name for film in list_inputs([str(tmp_path)])] == ["1", "1.png"]


def test_two_films_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "one/1.png", "two/1.png")
    with pytest.raises(UsageError, match="would both be named 1"):
        list_inputs([str(tmp_path / "one"), str(tmp_path / "two")])
    # The same place twice is one film.
    assert len(list_inputs([str(tmp_path / "one"), str(tmp_path / "one/1.png")])) == 1


@pytest.mark.parametrize(("name", "said"), [("empty", "holds no film"), ("nowhere", "there is no")])
def test_nothing_there(tmp_path: Path, name: str, said: str) -> None:
    touch(tmp_path, "empty/readme.txt")
    with pytest.raises(DataError, match=said):
        list_inputs([str(tmp_path / name)])


def test_a_data_set_has_all_of_its_films(phantom_config: Path) -> None:
    dataset = load_config(phantom_config).dataset_uri
    assert dataset is not None
    films = list_inputs([dataset])
    assert len(films) == 24
    assert {film.uri for film in films} == {dataset}
    assert kinds(films) == "24 films of data sets"
