"""Frames of DICOM files: the pixels as they are stored, by one fixed decoder for each transfer syntax.

Decoders differ by a grey level in lossy syntaxes, so each syntax has one and a data set records which. Damaged streams
are met in every large archive: GDCM was left out because it crashes on them, and no decoder is asked for more pixels
than the header of the file announces.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import imagecodecs
import numpy as np
import pydicom
import simplejpeg
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from raycxr.errors import DataError, RefusedFilmError

Stored: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
Dtype: TypeAlias = np.dtype[np.uint8] | np.dtype[np.uint16]
Shape: TypeAlias = tuple[int, int]

# As PS3.6, annex A, names them.
NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
DECODER = (
    f"uncompressed and RLE: pydicom {pydicom.__version__}; "
    f"JPEG baseline: simplejpeg {simplejpeg.__version__}; "
    f"JPEG extended and lossless: {imagecodecs.jpeg8_version()}; "
    f"JPEG-LS: {imagecodecs.jpegls_version()}; "
    f"JPEG 2000: {imagecodecs.jpeg2k_version()}"
)
_REPLACE = "replace the file by an undamaged copy"
_GREY = "remove it: a radiograph has one grey level per pixel"
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"


def read_frame(film: FileDataset) -> Stored:
    """Decode the one frame of a film.

    Parameters
    ----------
    film : FileDataset
        With `PixelData` and the elements of the image pixel module (PS3.3, C.7.6.3), 8 or 16 bits allocated.

    Returns
    -------
    uint8 or uint16 array (H, W)
        Stored values in the lowest bits: signed ones as two's complement, with whatever the file has above.

    Raises
    ------
    RefusedFilmError
        `unknown_syntax`, or `coloured` if the frame holds several samples per pixel.
    DataError
        If the frame is truncated or damaged, or of another size than the header tells.
    """
    syntax = film.file_meta.TransferSyntaxUID
    shape = (film.Rows, film.Columns)
    dtype: Dtype = np.dtype(np.uint8) if film.BitsAllocated == 8 else np.dtype(np.uint16)
    if syntax in NATIVE:
        return _read_native(film, shape, dtype)
    if syntax == RLELossless:
        return _read_rle(film, shape, dtype)
    if syntax not in _DECODERS:
        # A UID of no standard may be anything, a damaged identifier too.
        name = syntax.name if syntax.name != syntax else "that the standard does not know"
        raise RefusedFilmError("unknown_syntax", f"no decoder for a transfer syntax {name}", "convert the file")
    try:
        frame = get_frame(film.PixelData, 0, number_of_frames=1)
    except (ValueError, struct.error, EOFError, IndexError):
        # What pydicom says may quote bytes of the file.
        raise DataError("the fragments of the frame are damaged", _REPLACE) from None
    return _DECODERS[syntax](frame, shape, dtype)


def _read_native(film: FileDataset, shape: Shape, dtype: Dtype) -> Stored:
    wanted = shape[0] * shape[1] * dtype.itemsize
    if len(film.PixelData) < wanted:
        raise DataError(f"frame is truncated: {len(film.PixelData)} of {wanted} bytes", _REPLACE)
    order: Literal["<", ">"] = "<" if film.original_encoding[1] else ">"
    data = film.PixelData
    if order == ">" and dtype.itemsize == 1 and film["PixelData"].VR == "OW":
        # Two pixels make a word (PS3.5, 8.1.1 in its editions up to 2016).
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    pixels = np.frombuffer(data, dtype.newbyteorder(order), shape[0] * shape[1]).reshape(shape)
    return _lowest_bits(_as_stored(pixels, shape, dtype), film)


def _read_rle(film: FileDataset, shape: Shape, dtype: Dtype) -> Stored:
    """Read RLE by pydicom itself: slow, but the decoder of imagecodecs crashes on damaged segments."""
    bits = 8 * dtype.itemsize

    def decode() -> NDArray[Any]:
        # All bits are asked for: pydicom cuts values to their lowest ones, even where they are stored in higher ones.
        options: dict[str, Any] = {
            "rows": shape[0],
            "columns": shape[1],
            "bits_allocated": bits,
            "bits_stored": bits,
            "pixel_representation": 0,
            "samples_per_pixel": 1,
            "photometric_interpretation": "MONOCHROME2",
            "pixel_keyword": "PixelData",
            "number_of_frames": 1,
        }
        pixels, _ = get_decoder(RLELossless).as_array(film.PixelData, raw=True, decoding_plugin="pydicom", **options)
        return pixels

    return _lowest_bits(_as_stored(_run(decode, "RLE"), shape, dtype), film)


def _read_baseline(frame: bytes, shape: Shape, dtype: Dtype) -> Stored:
    """Read JPEG baseline, the syntax of all films of SIIM-ACR, by libjpeg-turbo.

    Through simplejpeg, since it is as fast as OpenCV and alone in taking the library's warnings for errors: others
    return pictures that are grey or torn from the damaged byte onwards.
    """
    _check_jpeg(frame, shape, dtype)
    pixels = _run(lambda: simplejpeg.decode_jpeg(frame, "GRAY"), "JPEG")
    return _as_stored(pixels.reshape(pixels.shape[:2]), shape, dtype)


def _read_jpeg(frame: bytes, shape: Shape, dtype: Dtype) -> Stored:
    _check_jpeg(frame, shape, dtype)
    return _as_stored(_run(lambda: imagecodecs.jpeg8_decode(frame), "JPEG"), shape, dtype)


def _read_jpeg_ls(frame: bytes, shape: Shape, dtype: Dtype) -> Stored:
    _check_jpeg(frame, shape, dtype)
    return _as_stored(_run(lambda: imagecodecs.jpegls_decode(frame), "JPEG-LS"), shape, dtype)


def _read_jpeg_2000(frame: bytes, shape: Shape, dtype: Dtype) -> Stored:
    _check_jpeg_2000(frame, shape, dtype)
    return _as_stored(_run(lambda: imagecodecs.jpeg2k_decode(frame), "JPEG 2000"), shape, dtype)


def _lowest_bits(pixels: Stored, film: FileDataset) -> Stored:
    """Move values down to the lowest bits, where older films have them higher up."""
    bits = film.get("BitsStored", film.BitsAllocated)
    shift = max(0, int(film.get("HighBit", bits - 1)) + 1 - bits)
    return pixels >> shift if shift else pixels


def _run(decode: Callable[[], NDArray[Any]], what: str) -> NDArray[Any]:
    try:
        return decode()
    except Exception:  # codecs have error classes of their own, and raise others for headers that make no sense
        # What they say may quote elements of the file.
        raise DataError(f"{what} frame is damaged", _REPLACE) from None


def _as_stored(pixels: NDArray[Any], shape: Shape, dtype: Dtype) -> Stored:
    if pixels.ndim != 2:
        raise RefusedFilmError("coloured", "the frame holds several samples per pixel", _GREY)
    if pixels.shape != shape:
        raise DataError(f"frame has {pixels.shape[1]}x{pixels.shape[0]} pixels, {shape[1]}x{shape[0]} are announced")
    # Signed codestreams wrap to two's complement here, which is what the header is about.
    return pixels.astype(np.uint8) if dtype == np.uint8 else pixels.astype(np.uint16)


def _check_jpeg(frame: bytes, shape: Shape, dtype: Dtype) -> None:
    """Compare the frame header (ISO 10918-1, B.2.2) with that of the file before a decoder reserves memory."""
    _check_end(frame, "JPEG")
    position = 2
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        marker, length = frame[position + 1], int.from_bytes(frame[position + 2 : position + 4])
        if marker == 0xFF:
            position += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, height, width, samples = struct.unpack_from(">BHHB", frame, position + 4)
            _check_announced((height, width), bits, samples, shape, dtype)
            return
        else:
            position += 2 + length
    raise DataError("JPEG frame is damaged: it has no header", _REPLACE)


def _check_jpeg_2000(frame: bytes, shape: Shape, dtype: Dtype) -> None:
    """Do the same for the SIZ marker (ISO 15444-1, A.5.1). Some writers put the JP2 container around the codestream."""
    _check_end(frame, "JPEG 2000")
    start = frame.find(_START_OF_CODESTREAM, 0, 512)
    if start < 0 or start + 45 > len(frame):
        raise DataError("JPEG 2000 frame is damaged: it has no header", _REPLACE)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, samples, depth = struct.unpack_from(
        ">8IHB", frame, start + 8
    )
    _check_announced((bottom - top, right - left), (depth & 0x7F) + 1, samples, shape, dtype)
    # A million tiles of one pixel keep a decoder busy for minutes.
    if tile_width * tile_height < min(shape[0] * shape[1], 64 * 64) or tile_left > left or tile_top > top:
        raise DataError("JPEG 2000 frame is damaged: its tiles make no sense", _REPLACE)


def _check_announced(
    size: Shape,
    bits: int,
    samples: int,
    shape: Shape,
    dtype: Dtype,
) -> None:
    if samples != 1:
        raise RefusedFilmError("coloured", f"the frame holds {samples} samples per pixel", _GREY)
    if size != shape:
        raise DataError(f"frame has {size[1]}x{size[0]} pixels, {shape[1]}x{shape[0]} are announced", _REPLACE)
    if bits > 8 * dtype.itemsize:
        raise DataError(f"frame has {bits} bits per pixel, {8 * dtype.itemsize} are announced", _REPLACE)


def _check_end(frame: bytes, what: str) -> None:
    """Refuse a frame without its end: decoders would return half a picture. Padding is 0, as it should, or 255."""
    if not frame.rstrip(b"\0\xff").endswith(_END_OF_IMAGE):
        raise DataError(f"{what} frame is truncated after {len(frame)} bytes", _REPLACE)


_Decoder: TypeAlias = Callable[[bytes, Shape, Dtype], Stored]
_DECODERS: dict[UID, _Decoder] = {
    JPEGBaseline8Bit: _read_baseline,
    JPEGExtended12Bit: _read_jpeg,
    JPEGLossless: _read_jpeg,
    JPEGLosslessSV1: _read_jpeg,
    JPEGLSLossless: _read_jpeg_ls,
    JPEGLSNearLossless: _read_jpeg_ls,
    JPEG2000Lossless: _read_jpeg_2000,
    JPEG2000: _read_jpeg_2000,
}
