from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from raycxr.errors import DataError
from raycxr.sources.film import Listing
from raycxr.sources.jsrt import JsrtSource
from raycxr.xray.anatomy import STRUCTURES
from raycxr.xray.picture import encode_gif, encode_png
from raycxr.xray.raw import encode_raw

FILM = np.add.outer(np.arange(8), np.arange(8)).astype(np.uint8)
MASK = encode_gif(FILM > 7)


def write(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_masks(folder: Path, name: str, structures: tuple[str, ...] = STRUCTURES) -> None:
    for structure in structures:
        write(folder / structure / f"{name}.gif", MASK)


def reasons(listing: Listing) -> list[tuple[str, str]]:
    return [(Path(reject.original).name, reject.reason) for reject in listing.rejects]


@pytest.mark.parametrize("image_folder", ["", "All247images"])
@pytest.mark.parametrize("folds", [False, True])
def test_genuine_layouts(tmp_path: Path, image_folder: str, folds: bool) -> None:
    images, masks = tmp_path / "jsrt", tmp_path / "scr"
    for number, name in enumerate(["JPCLN001", "JPCNN002", "JPCNN093"]):
        write(images / image_folder / f"{name}.IMG")
        write_masks(masks / f"fold{number % 2 + 1}" / "masks" if folds else masks, name)
    write(images / image_folder / "readme.txt")
    listing = JsrtSource(str(images), str(masks)).list()
    assert listing.rejects == ()
    assert [film.id for film in listing.films] == ["JPCLN001", "JPCNN002", "JPCNN093"]
    film = listing.films[1]
    assert film.annotated
    assert film.patient == "JPCNN002"
    assert film.split is None
    assert film.field_width_mm == pytest.approx(358.4)
    assert [part.structure for part in film.parts] == list(STRUCTURES)
    assert all(Path(part.uri).parent.name == part.structure for part in film.parts)
    assert all(Path(part.uri).exists() for part in film.parts)
    assert [film.labels for film in listing.films] == [{"nodule": 1}, {"nodule": 0}, {"nodule": 0}]


def test_what_does_not_fit_together_is_rejected_with_its_reason(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("JPCLN001", "JPCLN002", "JPCLN003"):
        write(images / f"{name}.png")
    write(images / "JPCLN001.IMG")
    write(images / "scan.png")
    write_masks(masks, "JPCLN001")
    write_masks(masks, "JPCLN002", ("heart", "left lung", "right lung", "left clavicle"))
    write_masks(masks, "JPCLN122")
    listing = JsrtSource(str(images), str(masks)).list()
    assert [(film.id, film.annotated) for film in listing.films] == [("JPCLN001", True), ("JPCLN003", False)]
    assert listing.films[0].uri.endswith(".IMG")
    assert sorted(reasons(listing)) == [
        ("JPCLN001.png", "duplicate_id"),
        ("JPCLN002.png", "mask_incomplete"),
        ("JPCLN122.gif", "image_missing"),
        ("scan.png", "unknown_name"),
    ]
    details = {reject.reason: reject.detail for reject in listing.rejects}
    assert details["mask_incomplete"] == "no mask of right clavicle"
    assert "JPCLN122" in details["image_missing"]


def test_without_masks_nothing_is_annotated(tmp_path: Path) -> None:
    write(tmp_path / "JPCNN001.png")
    listing = JsrtSource(str(tmp_path)).list()
    assert [(film.annotated, film.parts) for film in listing.films] == [(False, ())]


def test_a_missing_folder_is_named_with_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        JsrtSource(str(tmp_path / "nowhere")).list()
    assert caught.value.message == f"no such folder: {tmp_path / 'nowhere'}"
    assert "JPCLN001.IMG" in caught.value.remedy


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"empty folder: {tmp_path}"):
        JsrtSource(str(tmp_path)).list()


def test_a_folder_without_films_is_named(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt")
    with pytest.raises(DataError, match=f"no JSRT film in {tmp_path}"):
        JsrtSource(str(tmp_path)).list()


@pytest.mark.parametrize("structure", ["heart", "right clavicle"])
def test_a_missing_structure_folder_is_named(tmp_path: Path, structure: str) -> None:
    write(tmp_path / "images" / "JPCLN001.png")
    write_masks(tmp_path / "masks", "JPCLN001", tuple(name for name in STRUCTURES if name != structure))
    with pytest.raises(DataError, match=f"no such folder: .*masks/{structure}") as caught:
        JsrtSource(str(tmp_path / "images"), str(tmp_path / "masks")).list()
    assert "fold1/masks/" in caught.value.remedy


def test_raw_films_are_turned_around(tmp_path: Path) -> None:
    stored = np.full((2048, 2048), 4095, np.uint16)
    stored[0, :3] = [0, 1, 4000]
    write(tmp_path / "JPCLN001.IMG", encode_raw(stored))
    source = JsrtSource(str(tmp_path))
    film = source.list().films[0]
    pixels = source.decode(film, Path(film.uri).read_bytes()).pixels
    assert pixels.dtype == np.uint16
    assert pixels[0, :4].tolist() == [4095, 4094, 95, 0]


def test_a_truncated_raw_film_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "JPCLN001.IMG")
    source = JsrtSource(str(tmp_path))
    with pytest.raises(DataError, match="truncated: 5000 bytes"):
        source.decode(source.list().films[0], bytes(5000))


def test_a_raw_film_of_another_byte_order_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "JPCLN001.IMG")
    source = JsrtSource(str(tmp_path))
    little_endian = np.full((2048, 2048), 0x0123, "<u2").tobytes()
    with pytest.raises(DataError, match="12 bits reach only to 4095"):
        source.decode(source.list().films[0], little_endian)


@pytest.mark.parametrize(("inverted", "expected"), [(None, FILM), (False, FILM), (True, 255 - FILM)])
def test_pictures_are_turned_around_on_request(tmp_path: Path, inverted: bool | None, expected: np.ndarray) -> None:
    write(tmp_path / "JPCLN001.png", encode_png(FILM))
    source = JsrtSource(str(tmp_path), inverted=inverted)
    pixels = source.decode(source.list().films[0], encode_png(FILM)).pixels
    np.testing.assert_array_equal(pixels, expected)


def test_sources_travel_between_processes() -> None:
    source = JsrtSource("s3://films/jsrt", "s3://films/scr", True)
    assert pickle.loads(pickle.dumps(source)) == source
    assert len(pickle.dumps(source)) < 500
