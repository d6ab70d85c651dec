from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., bytes]:
    """Write a film, uncompressed or with a frame of the transfer syntax `syntax`; None removes an element."""
    return _write


def _write(pixels: NDArray[Any], bits: int = 12, frame: bytes | None = None, **elements: object) -> bytes:
    syntax = UID(str(elements.pop("syntax", ExplicitVRLittleEndian)))
    film = pydicom.Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = syntax
    film.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    film.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    film.SOPClassUID, film.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    film.PatientName, film.PatientID, film.PatientBirthDate = "Doe^Jane", "MRN-4711", "19500607"
    film.Modality, film.BodyPartExamined = "DX", "CHEST"
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit = (8 if bits <= 8 else 16), bits, bits - 1
    film.PixelRepresentation = int(pixels.dtype.kind == "i")
    order: Literal["<", ">"] = ">" if syntax == ExplicitVRBigEndian else "<"
    film.PixelData = (
        encapsulate([frame])
        if frame is not None
        else pixels.astype(pixels.dtype.newbyteorder(order)).tobytes() + bytes(pixels.nbytes % 2)
    )
    film["PixelData"].VR = "OB" if frame is not None or bits <= 8 else "OW"
    for name, value in elements.items():
        if value is None:
            delattr(film, name)
        else:
            setattr(film, name, value)
    buffer = io.BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(buffer, film, enforce_file_format=True, little_endian=order == "<", implicit_vr=implicit)
    return buffer.getvalue()
