from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from raycxr.errors import DataError
from raycxr.sources.film import Listing
from raycxr.sources.montgomery import MontgomerySource, montgomery_pixel_mm
from raycxr.storage.location import Location

FILM = np.add.outer(np.arange(402), 10 * np.arange(489)).astype(np.uint16)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name), FILM)


def write_film(root: Path, name: str, sides: tuple[str, ...] = ("left", "right"), reading: str | None = None) -> None:
    write(root, f"CXR_png/{name}.png", *(f"ManualMask/{side}Mask/{name}.png" for side in sides))
    if reading is not None:
        (root / "ClinicalReadings").mkdir(exist_ok=True)
        text = f"Patient's Sex: F \r\nPatient's Age: 027Y\r\n{reading}\r\n"
        (root / "ClinicalReadings" / f"{name}.txt").write_bytes(text.encode("latin-1"))


def reasons(listing: Listing) -> list[tuple[str, str]]:
    return [(Path(reject.original).name, reject.reason) for reject in listing.rejects]


def test_the_genuine_layout(tmp_path: Path) -> None:
    write_film(tmp_path, "MCUCXR_0104_1", reading="cavity in the left upper lobe, 30° off; rest normal")
    write_film(tmp_path, "MCUCXR_0001_0", reading="normal")
    write_film(tmp_path, "MCUCXR_0002_0", sides=())
    (tmp_path / "NLM-MontgomeryCXRSet-ReadMe.pdf").write_bytes(b"x")
    source = MontgomerySource(str(tmp_path))
    assert source.structures == ("left lung", "right lung")
    listing = source.list()
    assert listing.rejects == ()
    assert [(film.id, film.patient, film.annotated, film.labels) for film in listing.films] == [
        ("MCUCXR_0001_0", "MCUCXR_0001_0", True, {"tuberculosis": 0}),
        ("MCUCXR_0002_0", "MCUCXR_0002_0", False, {"tuberculosis": 0}),
        ("MCUCXR_0104_1", "MCUCXR_0104_1", True, {"tuberculosis": 1}),
    ]
    assert [(part.structure, part.uri.removeprefix(f"{tmp_path}/")) for part in listing.films[0].parts] == [
        ("left lung", "ManualMask/leftMask/MCUCXR_0001_0.png"),
        ("right lung", "ManualMask/rightMask/MCUCXR_0001_0.png"),
    ]
    assert "027" not in repr(listing)


def test_films_directly_in_the_folder_and_masks_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "films/MCUCXR_0001_0.png", "drawn/leftMask/MCUCXR_0001_0.png", "drawn/rightMask/MCUCXR_0001_0.png")
    films = str(tmp_path / "films")
    assert [film.annotated for film in MontgomerySource(films).list().films] == [False]
    assert [film.annotated for film in MontgomerySource(films, str(tmp_path / "drawn")).list().films] == [True]


def test_what_does_not_fit_together_is_rejected_with_its_reason(tmp_path: Path) -> None:
    write_film(tmp_path, "MCUCXR_0001_0")
    write_film(tmp_path, "MCUCXR_0002_0", sides=("right",))
    write_film(tmp_path, "MCUCXR_0104_1", reading=" Normal. ")
    write(tmp_path, "CXR_png/MCUCXR_0001_0.jpg", "CXR_png/CHNCXR_0001_0.png", "ManualMask/leftMask/MCUCXR_0009_0.png")
    listing = MontgomerySource(str(tmp_path)).list()
    assert [film.id for film in listing.films] == ["MCUCXR_0001_0"]
    assert sorted(reasons(listing)) == [
        ("CHNCXR_0001_0.png", "unknown_name"),
        ("MCUCXR_0001_0.png", "duplicate_id"),
        ("MCUCXR_0002_0.png", "mask_incomplete"),
        ("MCUCXR_0009_0.png", "image_missing"),
        ("MCUCXR_0104_1.png", "label_conflict"),
    ]
    details = {reject.reason: reject.detail for reject in listing.rejects}
    assert details["mask_incomplete"] == "no mask of the left lung"


def test_missing_and_foreign_folders_are_named(tmp_path: Path) -> None:
    write(tmp_path, "films/MCUCXR_0001_0.png", "other/JPCLN001.png", "half/leftMask/MCUCXR_0001_0.png")
    films, other, half, nowhere = (str(tmp_path / name) for name in ("films", "other", "half", "nowhere"))
    for source, message in [
        (MontgomerySource(nowhere), f"no such folder: {nowhere}"),
        (MontgomerySource(other), f"no Montgomery film in {other}"),
        (MontgomerySource(films, nowhere), f"no such folder: {nowhere}/leftMask"),
        (MontgomerySource(films, half), f"no such folder: {half}/rightMask"),
    ]:
        with pytest.raises(DataError) as caught:
            source.list()
        assert caught.value.message == message
        assert "MCUCXR_0001_0.png" in caught.value.remedy


@pytest.mark.parametrize("inverted", [False, True])
def test_deep_films_keep_their_depth_and_tell_their_pixel_distance(tmp_path: Path, inverted: bool) -> None:
    write(tmp_path, "MCUCXR_0001_0.png")
    source = MontgomerySource(str(tmp_path), inverted=inverted)
    film = source.list().films[0]
    decoded = source.decode(film, Path(film.uri).read_bytes())
    assert decoded.pixels.dtype == np.uint16
    np.testing.assert_array_equal(decoded.pixels, 65535 - FILM if inverted else FILM)
    assert decoded.pixel_mm == pytest.approx(0.875, rel=1e-3)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(4020, 4892, 0.0875), (4892, 4020, 0.0875), (210, 256, 1.672), (512, 512, None), (2048, 2560, None)],
)
def test_the_pixel_distance_of_copies(height: int, width: int, expected: float | None) -> None:
    assert montgomery_pixel_mm(height, width) == (expected and pytest.approx(expected, rel=1e-3))


def test_sources_travel_between_processes() -> None:
    source = MontgomerySource("s3://films/montgomery", "s3://films/masks", True)
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.slow
def test_a_bucket_lists_as_a_folder_does(tmp_path: Path, s3_folder: str) -> None:
    write_film(tmp_path, "MCUCXR_0001_0", reading="normal")
    write_film(tmp_path, "MCUCXR_0104_1", reading="normal")
    for file in Location(tmp_path).walk():
        (Location(s3_folder) / file.uri.removeprefix(f"{tmp_path}/")).write_bytes(file.read_bytes())
    listing = MontgomerySource(s3_folder).list()
    assert [(film.id, len(film.parts)) for film in listing.films] == [("MCUCXR_0001_0", 2)]
    assert reasons(listing) == [("MCUCXR_0104_1.png", "label_conflict")]
