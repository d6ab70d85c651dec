from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.encaps import get_frame

from raycxr.xray.dicom_encode import DicomHeader, encode_dicom

HEADER = DicomHeader(
    study="2.25.1",
    series="2.25.2",
    instance="2.25.3",
    patient_id="phantom-7",
    patient_name="Phantom^7",
    sex="F",
    age=9,
    view="AP",
    pixel_mm=0.341796875,
)
FILM = np.add.outer(np.arange(60) * 2, np.arange(90)).astype(np.uint8)
DATA = os.environ.get("RAYCXR_DATA", "")


def read(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def test_a_film_is_read_back() -> None:
    film = read(encode_dicom(FILM, HEADER))
    assert film.file_meta.TransferSyntaxUID.name == "JPEG Baseline (Process 1)"
    assert film.file_meta.MediaStorageSOPInstanceUID == film.SOPInstanceUID == "2.25.3"
    assert (film.Rows, film.Columns, film.BitsStored) == (60, 90, 8)
    assert (film.Modality, film.BodyPartExamined, film.ViewPosition) == ("CR", "CHEST", "AP")
    assert (str(film.PatientName), film.PatientID, film.PatientSex, film.PatientAge) == (
        "Phantom^7",
        "phantom-7",
        "F",
        "009Y",
    )
    assert film.PixelSpacing == [0.341797, 0.341797]
    frame = np.frombuffer(get_frame(film.PixelData, 0, number_of_frames=1), np.uint8)
    pixels = np.asarray(cv2.imdecode(frame, cv2.IMREAD_UNCHANGED))
    assert pixels.shape == FILM.shape
    assert np.abs(pixels.astype(int) - FILM).max() <= 6


def test_every_value_is_valid_and_the_bytes_are_the_same_each_time() -> None:
    data = encode_dicom(FILM, HEADER)
    assert data == encode_dicom(FILM, HEADER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
        list(read(data).iterall())


@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is not set")
def test_the_header_has_the_elements_of_the_real_one() -> None:
    real = pydicom.dcmread(next(Path(DATA, "siim", "dicom").iterdir()))
    drawn = read(encode_dicom(FILM, HEADER))
    assert [element.tag for element in drawn] == [element.tag for element in real]
    for keyword in ("SOPClassUID", "Modality", "BodyPartExamined", "PhotometricInterpretation", "BitsAllocated"):
        assert drawn[keyword].value == real[keyword].value
    frames = [get_frame(film.PixelData, 0, number_of_frames=1) for film in (drawn, real)]
    tables = [frame[frame.index(b"\xff\xdb") :][4:69] for frame in frames]
    assert tables[0] == tables[1], "the same quantisation"
