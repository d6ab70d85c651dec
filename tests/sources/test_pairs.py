from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from raycxr.config.ingest import IngestSection
from raycxr.errors import ConfigurationError, DataError
from raycxr.sources.choices import build_source
from raycxr.sources.pairs import PairsSource
from raycxr.xray.picture import encode_png

FILM = np.add.outer(np.arange(6), np.arange(9)).astype(np.uint8)


def touch(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode_png(FILM))
    return str(root)


def test_films_and_masks_of_equal_names(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "b.png", "a.jpg", "c.JPEG", "notes.txt")
    masks = touch(tmp_path / "masks", "a.png", "b.png")
    listing = PairsSource(images, masks, structure="lungs").list()
    assert listing.rejects == ()
    found = [(film.id, film.patient, film.annotated, film.split) for film in listing.films]
    assert found == [("a", "a", True, None), ("b", "b", True, None), ("c", "c", False, None)]
    assert listing.films[0].parts[0].structure == "lungs"
    assert listing.films[0].parts[0].uri.endswith("masks/a.png")


@pytest.mark.parametrize("mask_folder", ["masks", "images"])
def test_a_suffix_and_one_folder_for_both(tmp_path: Path, mask_folder: str) -> None:
    images = touch(tmp_path / "images", "x_1.png", "x_2.png")
    masks = touch(tmp_path / mask_folder, "x_1_mask.png", "x_2_mask.png")
    listing = PairsSource(images, masks, mask_suffix="_mask").list()
    assert listing.rejects == ()
    assert [(film.id, film.annotated) for film in listing.films] == [("x_1", True), ("x_2", True)]


def test_folders_give_the_split(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "train/a.png", "val/b.png", "test/c.png", "test/d.png")
    masks = touch(tmp_path / "masks", "train/a.png", "val/b.png", "test/c.png")
    listing = PairsSource(images, masks).list()
    found = [(film.id, film.split, film.annotated) for film in listing.films]
    assert found == [
        ("a", "train", True),
        ("b", "validation", True),
        ("c", "test", True),
        ("d", "test", False),
    ]


def test_one_folder_of_masks_serves_all_splits(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "train/a.png", "validation/b.png")
    listing = PairsSource(images, touch(tmp_path / "masks", "a.png", "b.png")).list()
    assert [(film.split, film.annotated) for film in listing.films] == [("train", True), ("validation", True)]


def test_what_does_not_fit_together_is_rejected_with_its_reason(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "train/a.png", "train/a.jpg", "test/a.png", "train/b.png")
    masks = touch(tmp_path / "masks", "train/a_m.png", "train/a_m.gif", "train/b_m.png", "train/z_m.png", "train/b.png")
    listing = PairsSource(images, masks, mask_suffix="_m").list()
    assert [(film.id, film.uri.removeprefix(images)) for film in listing.films] == [
        ("a", "/train/a.jpg"),
        ("b", "/train/b.png"),
    ]
    rejects = {reject.original.removeprefix(str(tmp_path)): reject.reason for reject in listing.rejects}
    assert rejects == {
        "/images/train/a.png": "duplicate_id",
        "/images/test/a.png": "duplicate_id",
        "/masks/train/a_m.png": "duplicate_id",
        "/masks/train/z_m.png": "image_missing",
        "/masks/train/b.png": "image_missing",
    }


def test_the_patient_comes_from_the_name(tmp_path: Path) -> None:
    images = touch(tmp_path, "p07_view1.png", "p07_view2.png", "p11_view1.png", "unknown.png")
    listing = PairsSource(images, patient_pattern=r"^p(\d+)_").list()
    assert [film.patient for film in listing.films] == ["07", "07", "11"]
    assert [(Path(reject.original).name, reject.reason) for reject in listing.rejects] == [
        ("unknown.png", "patient_unknown")
    ]


@pytest.mark.parametrize("pattern", ["p(", "p[0-9]+"])
def test_a_pattern_without_a_group_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="patient_pattern"):
        PairsSource("images", patient_pattern=pattern)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.png")
    (tmp_path / "empty").mkdir()
    for source, message in [
        (PairsSource(str(tmp_path / "nowhere")), f"no such folder: {tmp_path / 'nowhere'}"),
        (PairsSource(str(tmp_path / "empty")), f"empty folder: {tmp_path / 'empty'}"),
        (PairsSource(images, str(tmp_path / "nowhere")), f"no such folder: {tmp_path / 'nowhere'}"),
        (PairsSource(images, images, mask_suffix="_mask"), f"no mask in {images}"),
    ]:
        with pytest.raises(DataError) as caught:
            source.list()
        assert caught.value.message == message
        assert "PNG or JPEG" in caught.value.remedy


@pytest.mark.parametrize("inverted", [False, True])
def test_films_are_turned_around_on_request(tmp_path: Path, inverted: bool) -> None:
    source = PairsSource(touch(tmp_path, "a.png"), inverted=inverted)
    film = source.list().films[0]
    pixels = source.decode(film, Path(film.uri).read_bytes()).pixels
    np.testing.assert_array_equal(pixels, 255 - FILM if inverted else FILM)


def test_sources_are_chosen_by_name_and_travel_between_processes() -> None:
    section = IngestSection(source="pairs", images="s3://films/images", out="data", mask_suffix="_mask")
    source = build_source(section)
    assert source == PairsSource("s3://films/images", mask_suffix="_mask")
    assert pickle.loads(pickle.dumps(source)) == source
