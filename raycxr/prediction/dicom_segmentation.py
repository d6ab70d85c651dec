"""Masks as DICOM segmentation objects (PS3.3, A.51), which viewers and archives lay over the film."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import UID

import raycxr
from raycxr.errors import DataError
from raycxr.xray.outline import COLOURS

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription


class Code(NamedTuple):
    """A concept of SNOMED CT."""

    value: str
    meaning: str


ANATOMY = Code("91723000", "Anatomical Structure")
MORPHOLOGY = Code("49755003", "Morphologically Abnormal Structure")
LUNG, CLAVICLE = Code("39607008", "Lung"), Code("51299004", "Clavicle")
# Names of structures in our sources and configurations; others are coded by their own name, as local concepts.
CODES = {
    "lung": LUNG,
    "lungs": LUNG,
    "left lung": Code("44029006", "Left lung"),
    "right lung": Code("3341006", "Right lung"),
    "heart": Code("80891009", "Heart"),
    "clavicle": CLAVICLE,
    "clavicles": CLAVICLE,
    "left clavicle": CLAVICLE,
    "right clavicle": CLAVICLE,
    "pneumothorax": Code("36118008", "Pneumothorax"),
}
_ABNORMAL = ("pneumothorax",)
_SNOMED, _LOCAL = "SCT", "99RAYCXR"
SERIES_NUMBER = 900
_AGE = re.compile(r"\d{3}[DWMY]")


def encode_segmentation(film: bytes, masks: NDArray[np.bool_], classes: Sequence[str], model: str) -> bytes:
    """Return a DICOM file with one segment per class that refers to a film.

    Its identifiers follow from the film's and the model's: the same masks predicted again are the same object.

    Parameters
    ----------
    film : bytes
        The DICOM file of the film; patient and study are taken over from it.
    masks : bool (C, H, W)
        At the size of the film.
    classes : sequence of str
        One name per mask.
    model : str
        What identifies the model, such as the sha256 of its weights.

    Raises
    ------
    DataError
        The film's header lacks what a segmentation has to refer to.
    """
    source = pydicom.dcmread(io.BytesIO(film))
    _check(source)
    with warnings.catch_warnings():
        # highdicom's warnings and errors quote the names of patients.
        warnings.simplefilter("ignore")
        try:
            segmentation = _segmentation(source, masks, classes, model)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"no segmentation can refer to the film: its header is not valid ({type(error).__name__})",
                "leave out the format dicom-seg",
            ) from None
    # Which way the film lies (PS3.3, C.7.6.1): as the film says, or unknown.
    segmentation.PatientOrientation = source.get("PatientOrientation") or ""
    sink = io.BytesIO()
    segmentation.save_as(sink)
    return sink.getvalue()


def _segmentation(
    source: pydicom.Dataset, masks: NDArray[np.bool_], classes: Sequence[str], model: str
) -> Segmentation:
    from highdicom.seg import Segmentation, SegmentationTypeValues

    return Segmentation(
        source_images=[source],
        # Frames, rows, columns, segments: a film is one frame.
        pixel_array=np.moveaxis(masks, 0, -1)[None].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(number, structure) for number, structure in enumerate(classes)],
        series_instance_uid=_uid(f"series:{source.SeriesInstanceUID}:{model}"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(f"{source.SOPInstanceUID}:{model}"),
        instance_number=1,
        manufacturer="raycxr",
        manufacturer_model_name="raycxr",
        software_versions=raycxr.__version__,
        device_serial_number=model[:16],
        content_label="SEGMENTATION",
        content_description="Structures found by a neural network",
        # A structure that was not found is an empty segment, not one that is missing.
        omit_empty_frames=False,
        series_description="raycxr segmentation",
    )


def _check(source: pydicom.Dataset) -> None:
    needed = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
    missing = [name for name in needed if not source.get(name)]
    if missing:
        raise DataError(f"the film's header lacks {', '.join(missing)}", "leave out the format dicom-seg")
    # Type 2 elements: they have to be there, and archives that strip identities often leave them out.
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
                 "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        if name not in source:
            setattr(source, name, "")
    # What is taken over has to be valid, whatever the film's own maker thought.
    if not _AGE.fullmatch(str(source.get("PatientAge") or "")):
        source.pop("PatientAge", None)
    # A projection has no thickness of slices, without which highdicom does not read a distance of pixels. The film's
    # own holds for the segmentation, too, pixel by pixel.
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        source.pop(name, None)


def _segment(number: int, structure: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept

    plain = structure.lower().replace("_", " ")
    category = MORPHOLOGY if plain in _ABNORMAL else ANATOMY
    code = CODES.get(plain)
    kind = (
        CodedConcept(code.value, _SNOMED, code.meaning)
        if code is not None
        else CodedConcept(hashlib.sha256(plain.encode()).hexdigest()[:16], _LOCAL, structure[:64])
    )
    return SegmentDescription(
        segment_number=number + 1,
        segment_label=structure[:64],
        segmented_property_category=CodedConcept(category.value, _SNOMED, category.meaning),
        segmented_property_type=kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name="raycxr",
            family=CodedConcept("123110", "DCM", "Artificial Intelligence"),
            version=raycxr.__version__,
        ),
        display_color=CIELabColor.from_rgb(*COLOURS[number % len(COLOURS)]),
    )


def _uid(name: str) -> UID:
    """Return an identifier that follows from a name (PS3.5, B.2)."""
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(name.encode()).digest()[:16])}")
