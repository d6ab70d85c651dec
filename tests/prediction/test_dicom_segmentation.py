"""DICOM segmentations: what was written is read back, refers to its film, and is valid."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.seg import segread

from raycxr.errors import DataError
from raycxr.prediction.dicom_segmentation import encode_segmentation
from raycxr.xray.dicom_encode import DicomHeader, encode_dicom

CLASSES = ("lungs", "pneumothorax", "device")
MODEL = "ab" * 32


def film(height: int = 40, width: int = 30) -> bytes:
    header = DicomHeader("1.2.3", "1.2.3.4", "1.2.3.4.5", "someone", "Doe^Jane", "F", 47, "PA", 0.14)
    return encode_dicom(np.random.default_rng(0).integers(0, 255, (height, width), np.uint8), header)


def masks(height: int = 40, width: int = 30) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    drawn = np.zeros((len(CLASSES), height, width), bool)
    drawn[0, 3:20, 5:12] = drawn[1, 4:9, 6:8] = True
    return drawn


def test_masks_come_back(tmp_path: Path) -> None:
    (tmp_path / "seg.dcm").write_bytes(encode_segmentation(film(), masks(), CLASSES, MODEL))
    read = segread(tmp_path / "seg.dcm")
    found = read.get_pixels_by_source_instance(["1.2.3.4.5"])
    assert np.array_equal(np.moveaxis(found[0], -1, 0).astype(bool), masks())
    assert [read.get_segment_description(number).segment_label for number in (1, 2, 3)] == list(CLASSES)
    assert read.get_segment_description(1).segmented_property_type.value == "39607008"
    assert read.get_segment_description(2).segmented_property_category.meaning == "Morphologically Abnormal Structure"
    assert read.get_segment_description(3).segmented_property_type.scheme_designator == "99RAYCXR"
    colours = [read.get_segment_description(number).RecommendedDisplayCIELabValue for number in (1, 2, 3)]
    assert len({tuple(colour) for colour in colours}) == 3
    assert (read.StudyInstanceUID, read.PatientID, read.Modality) == ("1.2.3", "someone", "SEG")
    assert read.SeriesInstanceUID != "1.2.3.4"


def test_the_same_masks_again_are_the_same_object() -> None:
    first, second, other = (
        pydicom.dcmread(io.BytesIO(encode_segmentation(film(), masks(), CLASSES, model)))
        for model in (MODEL, MODEL, "cd" * 32)
    )
    assert first.SOPInstanceUID == second.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID != other.SeriesInstanceUID


def test_headers_of_bad_makers() -> None:
    """Sparse and invalid elements of the film do not reach the segmentation."""
    sparse = pydicom.dcmread(io.BytesIO(film()))
    del sparse.PatientID, sparse.StudyID, sparse.ReferringPhysicianName
    sparse.PatientAge = "47"
    sparse.PixelSpacing = [0, 0]
    buffer = io.BytesIO()
    sparse.save_as(buffer)
    read = pydicom.dcmread(io.BytesIO(encode_segmentation(buffer.getvalue(), masks(), CLASSES, MODEL)))
    assert read.PatientID == ""
    assert "PatientAge" not in read
    del sparse.SeriesInstanceUID
    buffer = io.BytesIO()
    sparse.save_as(buffer)
    with pytest.raises(DataError, match="lacks SeriesInstanceUID"):
        encode_segmentation(buffer.getvalue(), masks(), CLASSES, MODEL)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
def test_it_is_valid(tmp_path: Path) -> None:
    (tmp_path / "seg.dcm").write_bytes(encode_segmentation(film(), masks(), CLASSES, MODEL))
    told = subprocess.run(["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True).stderr
    assert "Segmentation" in told
    assert "Error" not in told


def test_the_version_is_the_pinned_one() -> None:
    """Younger ones than 0.22 write segmentations of films without a frame of reference."""
    assert tuple(map(int, highdicom.__version__.split(".")[:2])) >= (0, 22)
