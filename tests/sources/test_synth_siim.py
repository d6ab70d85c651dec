from __future__ import annotations

import csv
import gzip
import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import get_frame

from raycxr.errors import DataError
from raycxr.sources.film import Film
from raycxr.sources.siim_dicom import SiimDicomSource
from raycxr.sources.siim_png import SiimPngSource
from raycxr.sources.synth_siim import (
    draw_siim_film,
    siim_uid,
    write_siim_dicom,
    write_siim_dicom_from_table,
    write_siim_png,
)
from raycxr.sources.synth_writer import SynthSummary
from raycxr.storage.location import Location
from raycxr.xray.mask import binarise
from raycxr.xray.picture import decode_picture
from raycxr.xray.run_length import decode_run_lengths, encode_run_lengths

DATA = os.environ.get("RAYCXR_DATA", "")
KEY = b"a key that no one knows"
# Films 4 and 9 of every seed have a pneumothorax, film 8 of the mirror is in the test split.
POSITIVE = [4, 9]


def table_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def dicom_pixels(path: Path) -> NDArray[np.uint8]:
    film = pydicom.dcmread(path)
    frame = np.frombuffer(get_frame(film.PixelData, 0, number_of_frames=1), np.uint8)
    return np.asarray(cv2.imdecode(frame, cv2.IMREAD_UNCHANGED), np.uint8)


def dicom_source(folder: Path) -> SiimDicomSource:
    return SiimDicomSource(
        str(folder / "dicom-images-train"),
        str(folder / "train-rle.csv"),
        modalities=("CR",),
        body_parts=("chest",),
        key=KEY,
    )


def dicom_mask(film: Film) -> NDArray[np.bool_]:
    runs = [part.run_lengths for part in film.parts]
    return np.asarray(np.logical_or.reduce([each.decode() for each in runs if each is not None]))


@pytest.fixture(scope="module")
def siim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siim")
    steps: list[tuple[int, int]] = []
    summary = write_siim_dicom(Location(folder), 10, 128, 5, lambda done, total: steps.append((done, total)))
    assert summary == SynthSummary("siim-dicom", 10, 2)
    assert steps == [(done, 10) for done in range(1, 11)]
    return folder


def test_films_lie_in_folders_of_their_uids(siim: Path) -> None:
    files = sorted(siim.rglob("*.dcm"))
    assert len(files) == 10
    for path in files:
        film = pydicom.dcmread(path)
        place = ("dicom-images-train", film.StudyInstanceUID, film.SeriesInstanceUID, f"{film.SOPInstanceUID}.dcm")
        assert path.relative_to(siim).parts == place
        assert len({*place}) == 4
        assert all(uid.is_valid and uid.startswith("2.25.") for uid in (film.StudyInstanceUID, film.SOPInstanceUID))
        assert (film.Rows, film.Columns) == (128, 128)
        assert film.PixelSpacing[0] == pytest.approx(350 / 128, abs=1e-4)
        assert film.PatientID.startswith("phantom-5-")


def test_the_table_is_that_of_the_competition(siim: Path) -> None:
    text = (siim / "train-rle.csv").read_text()
    header, *rows = table_rows(siim / "train-rle.csv")
    assert header == ["ImageId", " EncodedPixels"]
    assert text.count(", -1\n") == 8
    assert list(dict.fromkeys(row[0] for row in rows)) == [siim_uid(5, number) for number in range(10)]
    assert {row[0] for row in rows} == {path.stem for path in siim.rglob("*.dcm")}


def test_masks_decode_to_what_was_drawn(siim: Path) -> None:
    _, *rows = table_rows(siim / "train-rle.csv")
    for number in range(10):
        film, masks = draw_siim_film(5, number, 128)
        texts = [text.strip() for name, text in rows if name == siim_uid(5, number)]
        assert bool(masks) == (number in POSITIVE)
        assert texts == [encode_run_lengths(mask) for mask in masks] or (texts == ["-1"] and not masks)
        for text, mask in zip(texts, masks, strict=False):
            np.testing.assert_array_equal(decode_run_lengths(text, 1024, 1024), mask)
        path = next(siim.rglob(f"{siim_uid(5, number)}.dcm"))
        assert np.abs(dicom_pixels(path).astype(int) - film).mean() < 2, "JPEG takes little away"


def test_phantoms_in_dicom_are_listed_by_their_source(siim: Path) -> None:
    listing = dicom_source(siim).list()
    assert listing.rejects == ()
    positive = {siim_uid(5, number) for number in POSITIVE}
    assert {film.id for film in listing.films if film.labels["pneumothorax"]} == positive
    for film in listing.films:
        assert dicom_mask(film).any() == (film.id in positive)


def test_phantoms_in_dicom_are_decoded_by_their_source(siim: Path) -> None:
    source = dicom_source(siim)
    patients = set()
    for film in source.list().films:
        decoded = source.decode(film, Path(film.uri).read_bytes())
        assert np.abs(decoded.pixels.astype(int) - dicom_pixels(Path(film.uri))).max() <= 1
        assert decoded.pixel_mm == pytest.approx(350 / 128, abs=1e-4)
        patients.add(decoded.patient)
    assert len(patients) == 10


def test_air_is_dark_and_masks_have_their_own_size_whatever_that_of_the_films() -> None:
    film, masks = draw_siim_film(1, 4, 1024)
    mask = np.logical_or.reduce(masks)
    ring = cv2.dilate(mask.astype(np.uint8), np.ones((61, 61), np.uint8)).astype(bool) & ~mask
    assert film[mask].mean() < film[ring].mean() - 20
    for size in (64, 256):
        small, same = draw_siim_film(1, 4, size)
        assert small.shape == (size, size)
        np.testing.assert_array_equal(masks, same)


def test_films_of_negatives_and_positives_do_not_repeat() -> None:
    films = [draw_siim_film(0, number, 64)[0].tobytes() for number in range(60)]
    assert len({hashlib.sha256(film).digest() for film in films}) == 60


def test_the_mirror_holds_the_same_films_as_pictures(siim: Path, tmp_path: Path) -> None:
    summary = write_siim_png(Location(tmp_path), 10, 128, 5, lambda done, total: None)
    assert summary == SynthSummary("siim-png", 10, 2)
    header, *train = table_rows(tmp_path / "stage_1_train_images.csv")
    assert header == ["new_filename", "ImageId", "has_pneumo"]
    assert [row[0] for row in train[:5]] == [f"{number}_train_{int(number == 4)}_.png" for number in range(5)]
    assert table_rows(tmp_path / "stage_1_test_images.csv")[1:] == [["0_test_0_.png", siim_uid(5, 8), "0"]]
    listing = SiimPngSource(str(tmp_path)).list()
    assert listing.rejects == ()
    dicoms = {film.id: film for film in dicom_source(siim).list().films}
    assert dicoms.keys() == {film.id for film in listing.films}
    for film in listing.films:
        pixels = SiimPngSource(str(tmp_path)).decode(film, Path(film.uri).read_bytes()).pixels
        assert np.abs(pixels.astype(int) - dicom_pixels(Path(dicoms[film.id].uri))).mean() < 2
        mask = binarise(decode_picture(Path(film.parts[0].uri).read_bytes()))
        assert film.labels == dicoms[film.id].labels == {"pneumothorax": int(mask.any())}
        large = dicom_mask(dicoms[film.id])
        assert mask.shape == pixels.shape == (128, 128)
        assert (
            np.abs(cv2.resize(large.astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA) - mask).max() <= 0.5
        )


def square(left: int, top: int, side: int) -> str:
    mask = np.zeros((1024, 1024), bool)
    mask[top : top + side, left : left + side] = True
    return encode_run_lengths(mask)


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_given_table_decides_about_names_and_masks(name: str, tmp_path: Path) -> None:
    corner = np.zeros((1024, 1024), bool)
    corner[-1, -1] = True
    rows = [
        ("1.2.3", "-1"),
        ("1.2.4", square(250, 200, 60)),
        ("1.2.5", "-1"),
        ("1.2.4", square(650, 220, 50)),
        ("1.2.6", encode_run_lengths(corner)),
        ("1.2.7", "-1"),
    ]
    text = "ImageId, EncodedPixels\n" + "".join(f"{film},{runs}\n" for film, runs in rows)
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    steps: list[tuple[int, int]] = []
    for folder, count, images, with_mask in (("all", None, 5, 2), ("some", 3, 3, 1)):
        out, table = Location(tmp_path / folder), Location(tmp_path / name)
        summary = write_siim_dicom_from_table(
            out, table, count, 256, 0, lambda done, total: steps.append((done, total))
        )
        assert summary == SynthSummary("siim-dicom", images, with_mask)
        listing = dicom_source(tmp_path / folder).list()
        assert listing.rejects == ()
        assert [film.id for film in listing.films] == [f"1.2.{3 + number}" for number in range(images)]
        written = [(film, runs.strip()) for film, runs in table_rows(tmp_path / folder / "train-rle.csv")[1:]]
        assert written == [row for row in rows if row[0] in {film.id for film in listing.films}]
    assert len(steps) == 8
    film = next((tmp_path / "all").rglob("1.2.4.dcm"))
    assert film.read_bytes() == next((tmp_path / "some").rglob("1.2.4.dcm")).read_bytes()
    pixels = dicom_pixels(film)
    for left, top, side in ((63, 50, 15), (163, 55, 12)):
        around = pixels[top - 10 : top + side + 10, left - 10 : left + side + 10]
        assert pixels[top + 1 : top + side - 1, left + 1 : left + side - 1].mean() < around.mean() - 5


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("ImageId,EncodedPixels\n../../etc/passwd,-1\n", "names a film .number 1. by no DICOM UID"),
        ("ImageId,EncodedPixels\n1.2.3,5 4 3\n", "1.2.3: run lengths are 3 numbers"),
        ("ImageId,Pixels\n1.2.3,-1\n", "no column EncodedPixels"),
    ],
)
def test_a_table_that_is_none_is_refused(text: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DataError, match=part):
        write_siim_dicom_from_table(
            Location(tmp_path / "out"), Location(tmp_path / "table.csv"), None, 64, 0, lambda done, total: None
        )
    assert not list(tmp_path.rglob("*.dcm"))
    assert not (tmp_path / "out" / "train-rle.csv").exists()


@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is not set")
def test_real_masks_lie_over_phantoms(tmp_path: Path) -> None:
    table = Path(DATA, "siim", "siim-pneumothorax-train-rle.csv.gz")
    summary = write_siim_dicom_from_table(Location(tmp_path), Location(table), 12, 512, 0, lambda done, total: None)
    assert summary == SynthSummary("siim-dicom", 12, 4)
    listing = dicom_source(tmp_path).list()
    assert (len(listing.films), listing.rejects) == (12, ())
    for film in listing.films:
        mask = cv2.resize(dicom_mask(film).astype(np.uint8), (512, 512), interpolation=cv2.INTER_AREA) > 0
        if mask.any():
            pixels = dicom_pixels(Path(film.uri))
            ring = (cv2.dilate(mask.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0) & ~mask
            assert pixels[mask].mean() < pixels[ring].mean() - 15


@pytest.mark.slow
def test_a_given_table_and_its_films_may_lie_in_a_bucket(s3_folder: str) -> None:
    table, out = Location(s3_folder) / "table.csv", Location(s3_folder) / "films"
    table.write_text(f"ImageId, EncodedPixels\n1.2.3, -1\n1.2.4, {square(250, 200, 60)}\n")
    summary = write_siim_dicom_from_table(out, table, None, 64, 0, lambda done, total: None)
    assert summary == SynthSummary("siim-dicom", 2, 1)
    assert (out / "train-rle.csv").read_text() == table.read_text()
    source = SiimDicomSource((out / "dicom-images-train").uri, (out / "train-rle.csv").uri, None, None, KEY)
    assert [film.labels["pneumothorax"] for film in source.list().films] == [0, 1]
