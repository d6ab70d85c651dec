from __future__ import annotations

import os
import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from raycxr.errors import DataError
from raycxr.sources.film import Listing
from raycxr.sources.shenzhen import ShenzhenSource
from raycxr.storage.location import Location
from raycxr.xray.mask import binarise
from raycxr.xray.picture import decode_picture

FILM = np.add.outer(np.arange(12), 20 * np.arange(10)).astype(np.uint8)
DATA = os.environ.get("RAYCXR_DATA", "")


def write(path: Path, pixels: np.ndarray = FILM) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def reasons(listing: Listing) -> list[tuple[str, str]]:
    return sorted((Path(reject.original).name, reject.reason) for reject in listing.rejects)


@pytest.mark.parametrize("folder", ["mask", "masks"])
def test_the_genuine_layout(tmp_path: Path, folder: str) -> None:
    for name in ("CHNCXR_0336_1", "CHNCXR_0001_0", "CHNCXR_0327_1"):
        write(tmp_path / "CXR_png" / f"{name}.png")
    write(tmp_path / folder / "CHNCXR_0001_0_mask.png")
    write(tmp_path / folder / "CHNCXR_0327_1_mask.png")
    (tmp_path / "CXR_png" / "Thumbs.db").write_bytes(b"x")
    listing = ShenzhenSource(str(tmp_path)).list()
    assert listing.rejects == ()
    assert [(film.id, film.annotated, film.labels) for film in listing.films] == [
        ("CHNCXR_0001_0", True, {"tuberculosis": 0}),
        ("CHNCXR_0327_1", True, {"tuberculosis": 1}),
        ("CHNCXR_0336_1", False, {"tuberculosis": 1}),
    ]
    assert [film.patient for film in listing.films] == [film.id for film in listing.films]
    part = listing.films[0].parts[0]
    assert (part.structure, part.uri) == ("lungs", str(tmp_path / folder / "CHNCXR_0001_0_mask.png"))


def test_films_directly_in_the_folder_and_masks_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "films" / "CHNCXR_0001_0.png")
    write(tmp_path / "drawn" / "CHNCXR_0001_0_mask.png")
    films = str(tmp_path / "films")
    assert [film.annotated for film in ShenzhenSource(films).list().films] == [False]
    assert [film.annotated for film in ShenzhenSource(films, str(tmp_path / "drawn")).list().films] == [True]


def test_what_does_not_fit_together_is_rejected_with_its_reason(tmp_path: Path) -> None:
    for name in ("CHNCXR_0001_0.png", "CHNCXR_0001_0.jpg", "CHNCXR_0002_2.png", "scan.png"):
        write(tmp_path / "CXR_png" / name)
    for name in ("CHNCXR_0001_0_mask.png", "CHNCXR_0009_0_mask.png", "CHNCXR_0001_0.png"):
        write(tmp_path / "mask" / name)
    listing = ShenzhenSource(str(tmp_path)).list()
    assert [film.id for film in listing.films] == ["CHNCXR_0001_0"]
    assert reasons(listing) == [
        ("CHNCXR_0001_0.png", "duplicate_id"),
        ("CHNCXR_0001_0.png", "unknown_name"),
        ("CHNCXR_0002_2.png", "unknown_name"),
        ("CHNCXR_0009_0_mask.png", "image_missing"),
        ("scan.png", "unknown_name"),
    ]


def test_missing_and_foreign_folders_are_named(tmp_path: Path) -> None:
    write(tmp_path / "films" / "CHNCXR_0001_0.png")
    write(tmp_path / "other" / "JPCLN001.png")
    films, other, nowhere = (str(tmp_path / name) for name in ("films", "other", "nowhere"))
    for source, message in [
        (ShenzhenSource(nowhere), f"no such folder: {nowhere}"),
        (ShenzhenSource(other), f"no film in {other}"),
        (ShenzhenSource(films, nowhere), f"no such folder: {nowhere}"),
        (ShenzhenSource(films, other), f"no mask in {other}"),
    ]:
        with pytest.raises(DataError) as caught:
            source.list()
        assert caught.value.message == message
        assert "CHNCXR_0001_0" in caught.value.remedy


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_films_of_equal_channels_are_grey(tmp_path: Path, mode: str, inverted: bool) -> None:
    path = tmp_path / "CHNCXR_0001_0.png"
    picture = Image.fromarray(FILM)
    # The set's own films have a palette of grey levels.
    (picture.convert("RGB").quantize(256) if mode == "P" else picture.convert(mode)).save(path)
    source = ShenzhenSource(str(tmp_path), inverted=inverted)
    decoded = source.decode(source.list().films[0], path.read_bytes())
    np.testing.assert_array_equal(decoded.pixels, 255 - FILM if inverted else FILM)
    assert (decoded.patient, decoded.pixel_mm) == (None, None)


def test_sources_travel_between_processes() -> None:
    source = ShenzhenSource("s3://films/shenzhen", None, True)
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.slow
def test_a_bucket_lists_as_a_folder_does(tmp_path: Path, s3_folder: str) -> None:
    for name in ("CXR_png/CHNCXR_0001_0.png", "CXR_png/CHNCXR_0327_1.png", "mask/CHNCXR_0001_0_mask.png"):
        write(tmp_path / name)
        (Location(s3_folder) / name).write_bytes((tmp_path / name).read_bytes())
    here, there = ShenzhenSource(str(tmp_path)).list(), ShenzhenSource(s3_folder).list()
    assert [(film.id, film.annotated, film.labels) for film in there.films] == [
        (film.id, film.annotated, film.labels) for film in here.films
    ]
    assert there.films[0].parts[0].uri == f"{s3_folder}/mask/CHNCXR_0001_0_mask.png"
    assert there.rejects == ()


@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is unset: no real films")
def test_the_real_films() -> None:
    source = ShenzhenSource(f"{DATA}/shenzhen")
    listing = source.list()
    assert listing.rejects == ()
    assert Counter(film.annotated for film in listing.films) == {True: 566, False: 24}
    assert all(film.labels == {"tuberculosis": int(film.id[-1])} for film in listing.films)
    for film in [film for film in listing.films if film.annotated][::60]:
        pixels = source.decode(film, Path(film.uri).read_bytes()).pixels
        mask = binarise(decode_picture(Path(film.parts[0].uri).read_bytes()))
        assert pixels.shape == mask.shape == (512, 512)
        assert 0.05 < mask.mean() < 0.6
        around = (cv2.dilate(mask.astype(np.uint8), np.ones((61, 61))) > 0) & ~mask
        assert pixels[mask].mean() < pixels[around].mean()
