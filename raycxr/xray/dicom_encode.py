"""DICOM files of phantoms: secondary captures with JPEG baseline, with the elements that films of SIIM-ACR have."""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

# That of the films of SIIM-ACR, told by their quantisation tables.
_JPEG_QUALITY = 92
# PS3.15, annex A, has de-identified files keep a date that is none; this one is that of SIIM-ACR.
_NO_DATE, _NO_TIME = "19010101", "000000.00"
# "2.25." and the number of a UUID is a UID that needs no registration (PS3.5, B.2).
_IMPLEMENTATION = UID("2.25.302213574128416029871234660213575301871")


@dataclass(frozen=True)
class DicomHeader:
    """What the header of a film says.

    Parameters
    ----------
    study, series, instance : str
        UIDs.
    patient_id, patient_name : str
        Of nobody: phantoms have no patients.
    sex : str
        `M` or `F`.
    age : int
        In years.
    view : str
        View position, `PA` or `AP`.
    pixel_mm : float
        Distance of pixels.
    """

    study: str
    series: str
    instance: str
    patient_id: str
    patient_name: str
    sex: str
    age: int
    view: str
    pixel_mm: float


def encode_dicom(pixels: NDArray[np.uint8], header: DicomHeader) -> bytes:
    """Write pixels of shape (H, W), bone bright, as MONOCHROME2 in JPEG baseline (process 1)."""
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(header.instance)
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.ImplementationClassUID = _IMPLEMENTATION
    buffer = io.BytesIO()
    film = FileDataset(buffer, _elements(header), preamble=bytes(128), file_meta=meta)
    film.Rows, film.Columns = pixels.shape
    film.PixelData = encapsulate([jpeg])
    film["PixelData"].VR = "OB"
    film.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _elements(header: DicomHeader) -> Dataset:
    """Return all elements but those of the pixels."""
    film = Dataset()
    film.SpecificCharacterSet = "ISO_IR 100"
    film.SOPClassUID, film.SOPInstanceUID = SecondaryCaptureImageStorage, header.instance
    film.StudyDate, film.StudyTime = _NO_DATE, _NO_TIME
    film.AccessionNumber = ""
    film.Modality = "CR"
    film.ConversionType = "WSD"
    film.ReferringPhysicianName = ""
    film.SeriesDescription = f"view: {header.view}"
    film.PatientName, film.PatientID = header.patient_name, header.patient_id
    film.PatientBirthDate = ""
    film.PatientSex, film.PatientAge = header.sex, f"{header.age:03d}Y"
    film.BodyPartExamined = "CHEST"
    film.ViewPosition = header.view
    film.StudyInstanceUID, film.SeriesInstanceUID = header.study, header.series
    film.StudyID = ""
    film.SeriesNumber = film.InstanceNumber = 1
    film.PatientOrientation = ""
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.PixelSpacing = [round(header.pixel_mm, 6)] * 2
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit = 7
    film.PixelRepresentation = 0
    film.LossyImageCompression, film.LossyImageCompressionMethod = "01", "ISO_10918_1"
    return film
