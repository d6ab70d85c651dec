"""DICOM films (PS3.3, computed and digital radiography, secondary capture) as grey levels for display.

Identity stays inside: only the elements named here are read at all, the patient's identifier is handed to whoever
hashes it, and no message quotes an element that could tell who somebody is.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from raycxr.errors import DataError, RefusedFilmError
from raycxr.xray.dicom_display import display_table, stored_codes
from raycxr.xray.dicom_frame import DECODER, read_frame

__all__ = ["DECODER", "DicomFilm", "decode_dicom"]

# pydicom's warnings and log lines quote the values that they complain about.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

_ELEMENTS = [
    *("Modality", "BodyPartExamined", "PatientID"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
]
# The tag of PixelData and its VR, in both byte orders; without a VR it cannot be told from pixels of another element.
_PIXEL_DATA = tuple(tag + kind for tag in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10") for kind in (b"OB", b"OW"))
_REPLACE = "replace the file by an undamaged copy"
# The largest detectors have 25 million pixels; headers that tell of more are damaged or made to fill the memory.
_MOST_PIXELS = 100_000_000
# Detectors and scanners have square pixels up to rounding.
_SQUARE = 0.01


@dataclass(frozen=True)
class DicomFilm:
    """What a DICOM file holds.

    Parameters
    ----------
    pixels : uint8 or uint16 array (H, W)
        0 to ``2**BitsStored - 1``, bone bright and lungs dark, see `raycxr.xray.dicom_display`. 8 bits where
        the file stores at most 8.
    pixel_mm : float or None
        Distance of pixels: PixelSpacing (calibrated, or of a scanned film), else ImagerPixelSpacing (at the detector;
        PS3.3, 10.7.1.3).
    patient_id : str or None
        Identity: to be hashed at once, never shown or kept.
    modality, body_part : str or None
        As the file has them.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    pixel_mm: float | None
    patient_id: str | None
    modality: str | None
    body_part: str | None

    def __repr__(self) -> str:
        return f"DicomFilm({self.pixels.shape[1]}x{self.pixels.shape[0]} pixels)"


def decode_dicom(data: bytes) -> DicomFilm:
    """Read one film.

    Parameters
    ----------
    data : bytes
        A whole DICOM file (PS3.10): uncompressed, JPEG baseline, extended or lossless, JPEG-LS, JPEG 2000 or RLE.

    Raises
    ------
    RefusedFilmError
        With the reason `not_dicom`, `no_pixel_data`, `unknown_syntax`, `multi_frame` or `coloured`.
    DataError
        If the file is truncated or damaged, or its header contradicts itself.
    """
    film = _read_header(data)
    try:
        _check(film)
        codes = stored_codes(read_frame(film), film)
        table = display_table(film)
        return DicomFilm(
            codes if table is None else table[codes],
            _pixel_mm(film),
            _text(film, "PatientID"),
            _text(film, "Modality"),
            _text(film, "BodyPartExamined"),
        )
    except DataError:
        raise
    except Exception:  # elements of a damaged header are of any type, which surfaces as any error, anywhere
        # What the error says may quote them.
        raise DataError("DICOM header is damaged: an element is none of what the standard allows", _REPLACE) from None


def _read_header(data: bytes) -> FileDataset:
    if not data:
        raise RefusedFilmError("not_dicom", "empty file", _REPLACE)
    if data[128:132] != b"DICM":
        raise RefusedFilmError("not_dicom", "no DICOM file: the letters DICM are missing at byte 128", "remove it")
    try:
        film = pydicom.dcmread(io.BytesIO(data), specific_tags=_ELEMENTS)
        # Elements are parsed on first use.
        syntax = film.file_meta.get("TransferSyntaxUID")
    except InvalidDicomError:
        raise RefusedFilmError("not_dicom", "no DICOM file: its header cannot be read", "remove it") from None
    except Exception:  # a damaged stream breaks pydicom anywhere, see `decode_dicom`
        raise DataError(f"DICOM file is truncated or damaged ({len(data)} bytes)", _REPLACE) from None
    if "PixelData" not in film and any(tag in data for tag in _PIXEL_DATA):
        # pydicom leaves out an element that it cannot read to its end.
        raise DataError(f"DICOM file is truncated after {len(data)} bytes", _REPLACE)
    if not syntax:
        raise DataError("DICOM header is damaged: it names no transfer syntax", _REPLACE)
    return film


def _check(film: FileDataset) -> None:
    """Refuse all that is no grey picture of 8 or 16 bits."""
    if "PixelData" not in film or not film.PixelData:
        if "FloatPixelData" in film or "DoubleFloatPixelData" in film:
            raise DataError("film has floating-point pixels", "remove it: no radiograph has them")
        raise RefusedFilmError("no_pixel_data", "DICOM file without PixelData", "remove it or replace it")
    frames = film.get("NumberOfFrames")
    if frames and int(frames) != 1:
        raise RefusedFilmError("multi_frame", f"film has {int(frames)} frames", "remove it: a radiograph has one")
    photometric = film.get("PhotometricInterpretation")
    if film.get("SamplesPerPixel", 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        known = photometric if photometric in _COLOURED else "no known kind"
        raise RefusedFilmError("coloured", f"pixels are of {known}, not MONOCHROME1 or MONOCHROME2", "remove it")
    rows, columns, allocated = (film.get(name) for name in ("Rows", "Columns", "BitsAllocated"))
    if not (isinstance(rows, int) and isinstance(columns, int) and rows > 0 and columns > 0):
        raise DataError("DICOM header is damaged: it names no size", _REPLACE)
    if rows * columns > _MOST_PIXELS:
        raise DataError(f"film announces {columns}x{rows} pixels, at most {_MOST_PIXELS:,} are read", _REPLACE)
    stored = film.get("BitsStored", allocated)
    if allocated not in (8, 16) or not 1 < stored <= allocated:
        raise DataError("film does not have 2 to 16 bits per pixel", "convert it")


_COLOURED = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")


def _pixel_mm(film: FileDataset) -> float | None:
    ratio = film.get("PixelAspectRatio")
    if ratio is not None and len(ratio) == 2 and abs(float(ratio[0]) / float(ratio[1]) - 1) > _SQUARE:
        raise DataError(f"pixels are not square, but {ratio[0]}:{ratio[1]}", "resample the film")
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = film.get(name)
        if spacing is None or len(spacing) != 2 or not all(float(value) > 0 for value in spacing):
            continue
        row, column = map(float, spacing)
        if abs(row / column - 1) > _SQUARE:
            raise DataError(f"pixels are not square, but {row:g}x{column:g} mm", "resample the film")
        return row
    return None


def _text(film: FileDataset, name: str) -> str | None:
    return str(film.get(name) or "").strip() or None
