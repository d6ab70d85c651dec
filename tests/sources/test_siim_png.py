from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from raycxr.errors import DataError
from raycxr.sources.siim_png import SiimPngSource
from raycxr.storage.location import Location

FILM = np.add.outer(np.arange(12), 20 * np.arange(10)).astype(np.uint8)
TRAIN, TEST = "stage_1_train_images.csv", "stage_1_test_images.csv"
DATA = os.environ.get("RAYCXR_DATA", "")


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name), FILM)


def write_table(root: Path, name: str, *rows: str) -> None:
    (root / name).write_text("new_filename,ImageId,has_pneumo\n" + "".join(f"{row}\n" for row in rows))


def write_mirror(root: Path) -> None:
    names = ("0_train_0_.png", "1_train_1_.png", "0_test_1_.png")
    write(root, *(f"{folder}/{name}" for folder in ("png_images", "png_masks") for name in names))
    write_table(root, TRAIN, "0_train_0_.png,1.2.9,0", "1_train_1_.png,1.2.3,1")
    write_table(root, TEST, "0_test_1_.png,1.2.5,1")


def test_the_genuine_layout(tmp_path: Path) -> None:
    write_mirror(tmp_path)
    source = SiimPngSource(str(tmp_path))
    assert source.structures == ("pneumothorax",)
    listing = source.list()
    assert listing.rejects == ()
    assert [(film.id, film.patient, film.split, film.annotated, film.labels) for film in listing.films] == [
        ("1.2.3", "1.2.3", "train", True, {"pneumothorax": 1}),
        ("1.2.5", "1.2.5", "test", True, {"pneumothorax": 1}),
        ("1.2.9", "1.2.9", "train", True, {"pneumothorax": 0}),
    ]
    film = listing.films[0]
    assert film.uri == str(tmp_path / "png_images" / "1_train_1_.png")
    assert [(part.structure, part.uri) for part in film.parts] == [
        ("pneumothorax", str(tmp_path / "png_masks" / "1_train_1_.png"))
    ]


def test_without_masks_and_with_masks_elsewhere(tmp_path: Path) -> None:
    write_mirror(tmp_path)
    (tmp_path / "png_masks").rename(tmp_path / "drawn")
    listing = SiimPngSource(str(tmp_path)).list()
    assert [film.annotated for film in listing.films] == [False, False, False]
    assert [film.labels["pneumothorax"] for film in listing.films] == [1, 1, 0]
    assert listing.rejects == ()
    listing = SiimPngSource(str(tmp_path), str(tmp_path / "drawn")).list()
    assert [film.annotated for film in listing.films] == [True, True, True]


def test_one_table_is_enough_for_its_split(tmp_path: Path) -> None:
    write_mirror(tmp_path)
    (tmp_path / TEST).unlink()
    listing = SiimPngSource(str(tmp_path)).list()
    assert [film.id for film in listing.films] == ["1.2.3", "1.2.9"]
    assert [(reject.original, reject.reason) for reject in listing.rejects] == [
        (str(tmp_path / "png_images" / "0_test_1_.png"), "row_missing")
    ]


def test_what_does_not_fit_together_is_rejected_with_its_reason(tmp_path: Path) -> None:
    images = ["0_train_0_.png", "1_train_1_.png", "2_train_0_.png", "3_train_0_.png", "4_train_0_.png", "0_test_0_.png"]
    write(tmp_path, *(f"png_images/{name}" for name in images), "png_images/9_train_1_.png")
    write(tmp_path, *(f"png_masks/{name}" for name in images if name != "2_train_0_.png"), "png_masks/8_train_1_.png")
    write_table(
        tmp_path,
        TRAIN,
        "0_train_0_.png,a,0",
        "1_train_1_.png,b,0",
        "2_train_0_.png,c,0",
        "3_train_0_.png,d,maybe",
        "4_train_0_.png,a,0",
        "5_train_0_.png,e,0",
        "0_test_0_.png,f,0",
        "0_train_0_.png,g,0",
    )
    listing = SiimPngSource(str(tmp_path)).list()
    assert [film.id for film in listing.films] == ["a"]
    rejects = {reject.original.removeprefix(f"{tmp_path}/"): reject.reason for reject in listing.rejects}
    assert len(listing.rejects) == 9
    assert rejects == {
        "png_images/1_train_1_.png": "label_conflict",
        "png_images/2_train_0_.png": "mask_missing",
        "png_images/3_train_0_.png": "label_unknown",
        f"{TRAIN}#4_train_0_.png": "duplicate_id",
        f"{TRAIN}#5_train_0_.png": "image_missing",
        "png_images/0_test_0_.png": "split_conflict",
        f"{TRAIN}#0_train_0_.png": "duplicate_id",
        "png_images/9_train_1_.png": "row_missing",
        "png_masks/8_train_1_.png": "image_missing",
    }


def test_what_is_no_name_in_a_table_is_not_told(tmp_path: Path) -> None:
    write(tmp_path, "png_images/film.png")
    write_table(tmp_path, TRAIN, "film.png,a,1", "Doe^Jane,b,1", f"film.png,{'9' * 5000},0")
    listing = SiimPngSource(str(tmp_path)).list()
    assert [(reject.original.removeprefix(f"{tmp_path}/"), reject.detail) for reject in listing.rejects] == [
        (f"{TRAIN}#row 2", "no file of that name in png_images/"),
        (f"{TRAIN}#film.png", "another row has film.png or its id, too"),
    ]


def test_names_of_another_pattern_contradict_nothing(tmp_path: Path) -> None:
    write(tmp_path, "png_images/film.png")
    write_table(tmp_path, TRAIN, "film.png,a,1")
    assert [(film.id, film.labels) for film in SiimPngSource(str(tmp_path)).list().films] == [
        ("a", {"pneumothorax": 1})
    ]


def test_missing_parts_are_named(tmp_path: Path) -> None:
    nowhere, films = str(tmp_path / "nowhere"), tmp_path / "films"
    write(films, "png_images/0_train_0_.png")
    for source, message in [
        (SiimPngSource(nowhere), f"no name table in {nowhere}"),
        (SiimPngSource(str(films)), f"no name table in {films}"),
    ]:
        with pytest.raises(DataError) as caught:
            source.list()
        assert caught.value.message == message
        assert "stage_1_train_images.csv" in caught.value.remedy
    write_table(films, TRAIN, "0_train_0_.png,a,0")
    with pytest.raises(DataError, match=f"no such folder: {nowhere}"):
        SiimPngSource(str(films), nowhere).list()
    (films / TRAIN).write_text("file,id\n0_train_0_.png,a\n")
    with pytest.raises(DataError, match="has no column new_filename, ImageId, has_pneumo"):
        SiimPngSource(str(films)).list()


@pytest.mark.parametrize("inverted", [False, True])
def test_films_are_turned_around_on_request(tmp_path: Path, inverted: bool) -> None:
    write_mirror(tmp_path)
    source = SiimPngSource(str(tmp_path), inverted=inverted)
    film = source.list().films[0]
    decoded = source.decode(film, Path(film.uri).read_bytes())
    np.testing.assert_array_equal(decoded.pixels, 255 - FILM if inverted else FILM)


def test_sources_travel_between_processes() -> None:
    source = SiimPngSource("s3://films/siim", None, True)
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.slow
def test_a_bucket_lists_as_a_folder_does(tmp_path: Path, s3_folder: str) -> None:
    write_mirror(tmp_path)
    for file in Location(tmp_path).walk():
        (Location(s3_folder) / file.uri.removeprefix(f"{tmp_path}/")).write_bytes(file.read_bytes())
    here, there = SiimPngSource(str(tmp_path)).list(), SiimPngSource(s3_folder).list()
    assert [film.uri.removeprefix(s3_folder) for film in there.films] == [
        film.uri.removeprefix(str(tmp_path)) for film in here.films
    ]
    assert [film.annotated for film in there.films] == [True, True, True]
    assert there.rejects == ()


@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is unset: no real tables")
def test_the_real_name_table_over_empty_files(tmp_path: Path) -> None:
    (tmp_path / TRAIN).symlink_to(Path(DATA) / "siim" / TRAIN)
    (tmp_path / "png_images").mkdir()
    for line in (tmp_path / TRAIN).read_text().splitlines()[1:]:
        (tmp_path / "png_images" / line.split(",")[0]).touch()
    listing = SiimPngSource(str(tmp_path)).list()
    assert listing.rejects == ()
    assert Counter(film.labels["pneumothorax"] for film in listing.films) == {0: 8296, 1: 2379}
    assert {film.split for film in listing.films} == {"train"}
