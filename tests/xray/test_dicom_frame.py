"""Each transfer syntax against the pixels that went in, and against pydicom's own decoders on genuine files."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
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
from raycxr.xray.dicom import DECODER, decode_dicom

RNG = np.random.default_rng(3)
FILM = (np.add.outer(20 * np.arange(61), 30 * np.arange(77)) % 4000 + RNG.integers(0, 90, (61, 77))).astype(np.uint16)
BYTES = (FILM >> 4).astype(np.uint8)
DATA = os.environ.get("RAYCXR_DATA", "")


def rle(pixels: NDArray[Any]) -> bytes:
    """Segments of the bytes of a pixel, the highest first, without any repetition (PS3.5, annex G)."""
    planes = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(pixels.size, -1).T
    segments = []
    for plane in planes:
        raw = plane.tobytes()
        packed = b"".join(bytes([len(raw[i : i + 128]) - 1]) + raw[i : i + 128] for i in range(0, len(raw), 128))
        segments.append(packed + bytes(len(packed) % 2))
    offsets = [64, *(64 + sum(map(len, segments[:n])) for n in range(1, len(segments)))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets))) + b"".join(segments)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_uncompressed(write_dicom: Callable[..., bytes], syntax: str) -> None:
    np.testing.assert_array_equal(decode_dicom(write_dicom(FILM, syntax=syntax)).pixels, FILM)
    eight = decode_dicom(write_dicom(BYTES, bits=8, syntax=syntax)).pixels
    assert eight.dtype == np.uint8
    np.testing.assert_array_equal(eight, BYTES)


def test_big_endian_words_of_two_pixels(write_dicom: Callable[..., bytes]) -> None:
    """The retired syntax swaps the bytes of words, also where they are pixels of their own."""
    words = np.frombuffer(BYTES.tobytes() + b"\0", np.uint16).byteswap().tobytes()
    little = write_dicom(BYTES, bits=8, syntax=ExplicitVRBigEndian, PixelData=words)
    at = little.index(b"\x7f\xe0\x00\x10OB")
    np.testing.assert_array_equal(decode_dicom(little[: at + 4] + b"OW" + little[at + 6 :]).pixels, BYTES)


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEGLossless, imagecodecs.ljpeg_encode(FILM, bitspersample=12)),
        (JPEGLosslessSV1, imagecodecs.ljpeg_encode(FILM, bitspersample=12)),
        (JPEGLSLossless, imagecodecs.jpegls_encode(FILM)),
        (JPEG2000Lossless, imagecodecs.jpeg2k_encode(FILM, codecformat="j2k", bitspersample=12)),
        (JPEG2000Lossless, imagecodecs.jpeg2k_encode(FILM, codecformat="jp2", bitspersample=12)),
        (RLELossless, rle(FILM)),
    ],
)
def test_lossless(write_dicom: Callable[..., bytes], syntax: str, frame: bytes) -> None:
    for padding in (b"", b"\0"):
        data = write_dicom(FILM, frame=bytes(frame) + padding, syntax=syntax)
        np.testing.assert_array_equal(decode_dicom(data).pixels, FILM)


def test_values_in_the_highest_bits(write_dicom: Callable[..., bytes]) -> None:
    """As films of older editions have them; lossless codestreams hold them without the gap."""
    high = FILM << 4
    plain, packed = write_dicom(high, HighBit=15), write_dicom(high, frame=rle(high), syntax=RLELossless, HighBit=15)
    stream = imagecodecs.jpeg2k_encode(FILM, codecformat="j2k", bitspersample=12)
    for data in (plain, packed, write_dicom(FILM, frame=bytes(stream), syntax=JPEG2000Lossless, HighBit=15)):
        np.testing.assert_array_equal(decode_dicom(data).pixels, FILM)


@pytest.mark.parametrize(
    ("syntax", "frame", "tolerance"),
    [
        (JPEGExtended12Bit, imagecodecs.jpeg8_encode(FILM, level=98, bitspersample=12), 60),
        (JPEGLSNearLossless, imagecodecs.jpegls_encode(FILM, level=3), 3),
        (JPEG2000, imagecodecs.jpeg2k_encode(FILM, codecformat="j2k", bitspersample=12, level=50), 60),
    ],
)
def test_lossy(write_dicom: Callable[..., bytes], syntax: str, frame: bytes, tolerance: int) -> None:
    pixels = decode_dicom(write_dicom(FILM, frame=bytes(frame), syntax=syntax)).pixels
    assert np.abs(pixels.astype(int) - FILM).max() <= tolerance


def test_jpeg_baseline_as_other_decoders_read_it(write_dicom: Callable[..., bytes]) -> None:
    jpeg = cv2.imencode(".jpg", BYTES)[1]
    pixels = decode_dicom(write_dicom(BYTES, bits=8, frame=jpeg.tobytes(), syntax=JPEGBaseline8Bit)).pixels
    expected = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEG2000Lossless, RLELossless])
def test_signed_values_of_unsigned_frames(write_dicom: Callable[..., bytes], syntax: UID) -> None:
    """Codecs see bits; only the header knows that they are two's complement."""
    signed = (FILM.astype(np.int16) - 2048).astype(np.int16)
    bits = (signed & 0xFFF).astype(np.uint16)
    frames: dict[str, bytes | bytearray] = {
        JPEGLossless: imagecodecs.ljpeg_encode(bits, bitspersample=12),
        JPEG2000Lossless: imagecodecs.jpeg2k_encode(bits, codecformat="j2k", bitspersample=12),
        RLELossless: rle(bits),
    }
    data = write_dicom(signed, frame=bytes(frames[syntax]), syntax=syntax)
    np.testing.assert_array_equal(decode_dicom(data).pixels, FILM)


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_one_picture_in_four_syntaxes(name: str) -> None:
    first, other = (Path(str(get_testdata_file(file))).read_bytes() for file in ("MR_small_bigendian.dcm", name))
    reference = pydicom.dcmread(str(get_testdata_file("MR_small_bigendian.dcm"))).pixel_array
    shown = decode_dicom(other).pixels
    # The big-endian copy has no window; both keep the order of the values.
    assert decode_dicom(first).pixels.shape == shown.shape
    order = np.argsort(reference.ravel(), kind="stable")
    assert (np.diff(shown.ravel()[order].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGBaseline8Bit, lambda: cv2.imencode(".jpg", BYTES)[1].tobytes()),
        (JPEG2000Lossless, lambda: imagecodecs.jpeg2k_encode(BYTES, codecformat="j2k")),
        (JPEGLSLossless, lambda: imagecodecs.jpegls_encode(BYTES)),
        (JPEGLossless, lambda: imagecodecs.ljpeg_encode(BYTES)),
        (RLELossless, lambda: rle(BYTES)),
    ],
)
def test_half_a_frame_is_refused(write_dicom: Callable[..., bytes], syntax: str, encode: Any) -> None:
    frame = bytes(encode())
    for kept in (2, 30, len(frame) // 2, len(frame) - 20):
        with pytest.raises(DataError, match=r"truncated|damaged|bytes of pixels|fragments|PixelData"):
            decode_dicom(write_dicom(BYTES, bits=8, frame=frame[:kept], syntax=syntax))


def test_a_torn_jpeg_is_refused(write_dicom: Callable[..., bytes]) -> None:
    """A lost piece in the middle, the end in place: most readers return the rest shifted or grey."""
    big = cv2.resize(BYTES, (400, 400))
    jpeg = cv2.imencode(".jpg", big)[1].tobytes()
    torn = jpeg[: len(jpeg) // 2] + jpeg[len(jpeg) // 2 + 400 :]
    with pytest.raises(DataError, match="JPEG frame is damaged"):
        decode_dicom(write_dicom(big, bits=8, frame=torn, syntax=JPEGBaseline8Bit))


def test_a_frame_of_another_size_or_depth_is_refused(write_dicom: Callable[..., bytes]) -> None:
    frame = bytes(imagecodecs.jpeg2k_encode(BYTES, codecformat="j2k"))
    with pytest.raises(DataError, match="77x61 pixels, 76x61 are announced"):
        decode_dicom(write_dicom(BYTES[:, 1:], bits=8, frame=frame, syntax=JPEG2000))
    deep = bytes(imagecodecs.jpeg2k_encode(FILM, codecformat="j2k", bitspersample=12))
    with pytest.raises(DataError, match="12 bits per pixel, 8 are announced"):
        decode_dicom(write_dicom(BYTES, bits=8, frame=deep, syntax=JPEG2000))
    with pytest.raises(DataError, match="truncated: 4698 of 9394 bytes"):
        decode_dicom(write_dicom(FILM, PixelData=bytes(4697)))


def test_coloured_frames_are_refused(write_dicom: Callable[..., bytes]) -> None:
    colour = cv2.imencode(".jpg", np.dstack([BYTES, BYTES, BYTES]))[1].tobytes()
    with pytest.raises(RefusedFilmError) as caught:
        decode_dicom(write_dicom(BYTES, bits=8, frame=colour, syntax=JPEGBaseline8Bit))
    assert caught.value.reason == "coloured"


@pytest.mark.parametrize(("syntax", "name"), [(HTJ2KLossless, "High-Throughput"), ("1.2.840.99.4711", "not know")])
def test_other_syntaxes_are_refused(write_dicom: Callable[..., bytes], syntax: str, name: str) -> None:
    with pytest.raises(RefusedFilmError, match=name) as caught:
        decode_dicom(write_dicom(BYTES, bits=8, frame=b"1234", syntax=syntax))
    assert caught.value.reason == "unknown_syntax"
    assert "4711" not in str(caught.value)


def test_the_decoders_are_named() -> None:
    for library in ("pydicom 3", "simplejpeg 1", "libjpeg_turbo 3", "openjpeg 2", "charls 2"):
        assert library in DECODER


@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is not set")
@pytest.mark.parametrize(
    ("name", "shape", "largest"),
    [
        ("dicom/Fake_MONOHR1.dcm", (1024, 1024), 255),
        ("dicom/RG1_J2KI.dcm", (1955, 1841), 32767),
        ("dicom/RG3_J2KR.dcm", (1760, 1760), 1023),
        ("dicom/RG3_J2KI.dcm", (1760, 1760), 1023),
    ],
)
def test_genuine_films(name: str, shape: tuple[int, int], largest: int) -> None:
    pixels = decode_dicom((Path(DATA) / name).read_bytes()).pixels
    assert pixels.shape == shape
    assert largest // 2 < int(pixels.max()) <= largest
