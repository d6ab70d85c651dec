from __future__ import annotations

import gzip
import io
import os
import pickle
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from raycxr.config.ingest import IngestSection
from raycxr.errors import DataError, RefusedFilmError
from raycxr.sources.choices import build_source
from raycxr.sources.film import Listing
from raycxr.sources.patient_key import KEY_VARIABLE, hash_patient
from raycxr.sources.siim_dicom import SiimDicomSource, read_run_length_table
from raycxr.storage.location import Location

KEY = b"a key that no one knows"
FILM = np.add.outer(np.arange(12), 20 * np.arange(10)).astype(np.uint8)
NO_FILTERS: dict[str, tuple[str, ...]] = {}
HEADER = "ImageId, EncodedPixels\n"
DATA = os.environ.get("RAYCXR_DATA", "")


def dicom(**elements: object) -> bytes:
    film = pydicom.Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    film.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    film.SOPClassUID, film.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    film.Rows, film.Columns = FILM.shape
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 8, 8, 7, 0
    film.PixelData = FILM.tobytes()
    for name, value in elements.items():
        setattr(film, name, value)
    buffer = io.BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def touch(root: Path, *names: str) -> str:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return str(root)


def write_table(path: Path, *rows: str) -> str:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return str(path)


def siim(images: str, masks: str | None = None, filters: Mapping[str, tuple[str, ...]] = NO_FILTERS) -> SiimDicomSource:
    return SiimDicomSource(images, masks, filters.get("modalities"), filters.get("body_parts"), key=KEY)


def reasons(listing: Listing, root: Path) -> dict[str, str]:
    return {reject.original.removeprefix(f"{root}/"): reject.reason for reject in listing.rejects}


def test_the_genuine_layout(tmp_path: Path) -> None:
    images = touch(tmp_path / "dicom-images-train", "s/t/1.2.30.dcm", "s/u/1.2.4.DCM", "v/w/1.2.5.dcm", "v/w/LICENSE")
    table = write_table(tmp_path / "train-rle.csv", "1.2.30,0 3 1021 2", "1.2.4, -1", "1.2.5,-1", "1.2.30,5 2")
    source = siim(images, table)
    assert source.structures == ("pneumothorax",)
    listing = source.list()
    assert listing.rejects == ()
    found = [(film.id, film.patient, film.annotated, film.labels, film.split) for film in listing.films]
    assert found == [
        ("1.2.30", "1.2.30", True, {"pneumothorax": 1}, None),
        ("1.2.4", "1.2.4", True, {"pneumothorax": 0}, None),
        ("1.2.5", "1.2.5", True, {"pneumothorax": 0}, None),
    ]
    masks = [[part.run_lengths.decode() for part in film.parts if part.run_lengths] for film in listing.films]
    assert [len(parts) for parts in masks] == [2, 1, 1]
    assert all(mask.shape == (1024, 1024) for parts in masks for mask in parts)
    # Column-major and relative: three pixels from the top left, two at the top of the second column.
    assert [np.argwhere(mask).tolist() for mask in masks[0]] == [
        [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]],
        [[5, 0], [6, 0]],
    ]
    assert not masks[1][0].any()
    assert {part.structure for film in listing.films for part in film.parts} == {"pneumothorax"}


def test_an_empty_row_beside_a_mask_does_not_hide_it(tmp_path: Path) -> None:
    images = touch(tmp_path / "films", "a.dcm")
    table = write_table(tmp_path / "rle.csv", "a,-1", "a,7 2")
    film = siim(images, table).list().films[0]
    assert film.labels == {"pneumothorax": 1}
    assert [part.run_lengths.text for part in film.parts if part.run_lengths] == ["7 2"]


def test_what_does_not_fit_together_is_rejected_with_its_reason(tmp_path: Path) -> None:
    images = touch(tmp_path / "films", "1/a.dcm", "2/a.dcm", "3/b.dcm")
    table = write_table(tmp_path / "rle.csv", "a,-1", "z,1 2", "z,5 6", "y,-1")
    listing = siim(images, table).list()
    assert [film.uri for film in listing.films] == [f"{images}/1/a.dcm"]
    assert len(listing.rejects) == 4
    assert reasons(listing, tmp_path) == {
        "films/2/a.dcm": "duplicate_id",
        "films/3/b.dcm": "row_missing",
        "rle.csv#y": "image_missing",
        "rle.csv#z": "image_missing",
    }
    details = {reject.original.rpartition("#")[2]: reject.detail for reject in listing.rejects}
    assert details["z"] == "2 rows, but no z.dcm"


def test_what_is_no_name_in_a_table_is_not_told(tmp_path: Path) -> None:
    images = touch(tmp_path / "films", "a.dcm")
    table = write_table(tmp_path / "rle.csv", "a,-1", "b,-1", "Doe^Jane,-1", '"two\nlines",-1', f"{'9' * 5000},-1")
    listing = siim(images, table).list()
    assert [(reject.original.removeprefix(f"{tmp_path}/"), reject.detail) for reject in listing.rejects] == [
        ("rle.csv#b", "1 row, but no b.dcm"),
        ("rle.csv#name 3", "1 row, but no film of that name"),
        ("rle.csv#name 4", "1 row, but no film of that name"),
        ("rle.csv#name 5", "1 row, but no film of that name"),
    ]


def test_without_a_table_nothing_is_annotated(tmp_path: Path) -> None:
    listing = siim(touch(tmp_path, "b.dcm", "a.dcm")).list()
    assert [(film.id, film.annotated, film.parts, film.labels) for film in listing.films] == [
        ("a", False, (), {}),
        ("b", False, (), {}),
    ]
    assert listing.rejects == ()


@pytest.mark.parametrize("packed", [False, True])
def test_tables_may_be_compressed(tmp_path: Path, packed: bool) -> None:
    text = b"\xef\xbb\xbfImageId,EncodedPixels\r\na,1 2\r\n"
    path = tmp_path / ("rle.csv.gz" if packed else "rle.csv")
    path.write_bytes(gzip.compress(text) if packed else text)
    assert read_run_length_table(Location(path)) == {"a": ["1 2"]}


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    images, foreign = touch(tmp_path / "films", "a.dcm"), touch(tmp_path / "foreign", "a.png")
    (tmp_path / "latin.csv").write_bytes((HEADER + "ä,1 2\n").encode("latin-1"))
    (tmp_path / "other.csv").write_text("id,mask\na,1 2\n")
    nowhere = str(tmp_path / "nowhere")
    for source, message, remedy in [
        (siim(nowhere), f"no such folder: {nowhere}", "*.dcm"),
        (siim(foreign), f"no DICOM film in {foreign}", "*.dcm"),
        (siim(images, str(tmp_path / "latin.csv")), f"{tmp_path}/latin.csv is not UTF-8", "EncodedPixels"),
        (siim(images, str(tmp_path / "other.csv")), f"{tmp_path}/other.csv has no column ImageId", "EncodedPixels"),
    ]:
        with pytest.raises(DataError) as caught:
            source.list()
        assert caught.value.message.startswith(message)
        assert remedy in caught.value.remedy


def test_the_key_travels_but_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY.decode())
    section = IngestSection(source="siim-dicom", images="s3://films/siim", out="data", modalities=("CR",))
    source = build_source(section)
    assert source == siim("s3://films/siim", filters={"modalities": ("CR",)})
    assert "key" not in repr(source)
    assert pickle.loads(pickle.dumps(source)).key == KEY


def test_the_patient_is_a_keyed_hash(tmp_path: Path) -> None:
    source = siim(touch(tmp_path, "a.dcm"))
    film = source.list().films[0]
    decoded = source.decode(film, dicom(PatientID="Smith^17", PixelSpacing=[0.2, 0.2]))
    np.testing.assert_array_equal(decoded.pixels, FILM)
    assert decoded.patient == hash_patient(KEY, "Smith^17")
    assert decoded.pixel_mm == pytest.approx(0.2)
    assert source.decode(film, dicom()).patient is None
    assert source.decode(film, dicom(PatientID="")).patient is None


@pytest.mark.parametrize(
    ("filters", "elements", "reason"),
    [
        ({}, {"Modality": "MR"}, None),
        ({"modalities": ("CR", "DX")}, {"Modality": "DX"}, None),
        ({"modalities": ("cr",)}, {"Modality": "CR"}, None),
        ({"modalities": ("CR",)}, {"Modality": "MR"}, "wrong_modality"),
        ({"modalities": ("CR",)}, {}, "wrong_modality"),
        ({"modalities": ("CR", "")}, {}, None),
        ({"body_parts": ("CHEST",)}, {"BodyPartExamined": "CHEST"}, None),
        ({"body_parts": ("CHEST",)}, {"BodyPartExamined": "HAND"}, "wrong_body_part"),
        ({"body_parts": ("CHEST",)}, {}, "wrong_body_part"),
    ],
)
def test_unwanted_films_are_refused(
    tmp_path: Path, filters: dict[str, tuple[str, ...]], elements: dict[str, str], reason: str | None
) -> None:
    source = siim(touch(tmp_path, "a.dcm"), filters=filters)
    film, data = source.list().films[0], dicom(PatientID="Smith^17", **elements)
    if reason is None:
        np.testing.assert_array_equal(source.decode(film, data).pixels, FILM)
        return
    with pytest.raises(RefusedFilmError) as caught:
        source.decode(film, data)
    assert caught.value.reason == reason
    assert "Smith" not in str(caught.value)


@pytest.mark.parametrize(
    ("elements", "detail"),
    [
        ({"Modality": "MR"}, "modality MR, accepted is CR"),
        ({"Modality": "SMITH^JOHN"}, "modality of another form, accepted is CR"),
        ({"Modality": "CR", "BodyPartExamined": "SMITH JOHN"}, "body part of another form, accepted is CHEST"),
    ],
)
def test_a_refused_film_does_not_name_who_stands_in_the_wrong_element(
    tmp_path: Path, elements: dict[str, str], detail: str
) -> None:
    source = siim(touch(tmp_path, "a.dcm"), filters={"modalities": ("CR",), "body_parts": ("CHEST",)})
    film, data = source.list().films[0], dicom(**elements)
    with pytest.raises(RefusedFilmError, match=f"{detail}$"):
        source.decode(film, data)


@pytest.mark.slow
def test_a_bucket_lists_as_a_folder_does(tmp_path: Path, s3_folder: str) -> None:
    touch(tmp_path, "films/1/a.dcm", "films/2/b.DCM", "films/2/c/a.dcm")
    write_table(tmp_path / "rle.csv", "a,1 2", "z,-1")
    for file in Location(tmp_path).walk():
        (Location(s3_folder) / file.uri.removeprefix(f"{tmp_path}/")).write_bytes(file.read_bytes())
    here = siim(str(tmp_path / "films"), str(tmp_path / "rle.csv")).list()
    there = siim(f"{s3_folder}/films", f"{s3_folder}/rle.csv").list()
    assert [film.uri.removeprefix(s3_folder) for film in there.films] == ["/films/1/a.dcm"]
    assert [film.labels for film in there.films] == [film.labels for film in here.films]
    assert [reject.reason for reject in there.rejects] == [reject.reason for reject in here.rejects]


@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is unset: no real table")
def test_the_real_table() -> None:
    start = time.perf_counter()
    rows = read_run_length_table(Location(f"{DATA}/siim/siim-pneumothorax-train-rle.csv.gz"))
    assert time.perf_counter() - start < 2
    assert len(rows) == 12_047
    assert sum(map(len, rows.values())) == 12_954
    masks = Counter(sum(text != "-1" for text in texts) for texts in rows.values())
    assert masks[0] == 12_047 - 2_669
    assert sum(count * films for count, films in masks.items()) == 3_576


@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is unset: no real film")
def test_the_real_film() -> None:
    table = f"{DATA}/siim/siim-pneumothorax-train-rle.csv.gz"
    source = siim(f"{DATA}/siim", table, {"modalities": ("CR",), "body_parts": ("CHEST",)})
    listing = source.list()
    assert Counter(reject.reason for reject in listing.rejects) == {"image_missing": 12_046}
    (film,) = listing.films
    assert film.labels == {"pneumothorax": 0}
    decoded = source.decode(film, Path(film.uri).read_bytes())
    assert decoded.pixels.shape == (1024, 1024)
    assert decoded.patient is not None
    assert len(decoded.patient) == 16
