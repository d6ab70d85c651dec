"""Pictures: PNG, JPEG and GIF files as grey levels. Damaged files and coloured pictures are refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TypeAlias

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from raycxr.errors import DataError

Grey: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]

# Decoders differ by a grey level in JPEG: a data set records what decoded it.
DECODER = f"opencv {cv2.__version__}, pillow {PIL.__version__}"

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_GIF = (b"GIF87a", b"GIF89a")
_PALETTE = 3
# On noisy films run lengths of average-filtered rows take a third of the time of OpenCV's default and a sixth
# less space: there is nothing that its search for repeated strings could find.
_PNG_OPTIONS = [
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
]
_REPLACE = "replace the file by an undamaged copy"
# JPEG stores colour differences; rounding makes the channels of a grey picture differ by this much.
_JPEG_ROUNDING = 2


def decode_picture(data: bytes) -> Grey:
    """Read a grey picture.

    Parameters
    ----------
    data : bytes
        A whole PNG (1 to 16 bits, grey, palette or RGB(A) with equal channels), JPEG or GIF file.

    Returns
    -------
    uint8 or uint16 array (H, W)
        16 bits only for a 16-bit PNG; fewer than 8 bits are spread over 0 to 255.

    Raises
    ------
    DataError
        If the data are no such picture, truncated or damaged (half a picture is never returned), coloured,
        transparent, or an animation.
    """
    if data.startswith(_PNG):
        bits, colour_type = _check_png(data)
        return _decode_pillow(data) if bits < 8 or colour_type == _PALETTE else _decode_png(data)
    if data.startswith((_JPEG, *_GIF)):
        return _decode_pillow(data)
    fault = "empty file" if not data else "neither PNG, JPEG nor GIF"
    raise DataError(f"not a picture: {fault}", "give PNG, JPEG or GIF files")


def encode_png(image: Grey) -> bytes:
    """Write a uint8 or uint16 image of shape (H, W) as a grey PNG, one of shape (H, W, 3) as BGR."""
    return cv2.imencode(".png", image, _PNG_OPTIONS)[1].tobytes()


def encode_gif(mask: NDArray[np.bool_]) -> bytes:
    """Write a mask of shape (H, W) as a grey GIF of 0 and 255, as the SCR data set has them."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(buffer, "GIF", optimize=False, interlace=0)
    return buffer.getvalue()


def _check_png(data: bytes) -> tuple[int, int]:
    """Walk over the chunks of a PNG (ISO 15948, section 5); return bit depth and colour type."""
    position, kind = len(_PNG), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise DataError(f"PNG is truncated after {len(data)} bytes", _REPLACE)
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise DataError(f"PNG is truncated after {len(data)} bytes", _REPLACE)
        if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise DataError(f"PNG is damaged: wrong checksum at byte {position}", _REPLACE)
        position = end + 4
    if data[12:16] != b"IHDR":
        raise DataError("PNG is damaged: it does not begin with its header", _REPLACE)
    return data[24], data[25]


def _decode_png(data: bytes) -> Grey:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        # OpenCV refuses pictures of more than 2**30 pixels this way.
        raise DataError(f"PNG cannot be decoded: {error.err}", _REPLACE) from error
    if pixels is None:
        raise DataError("PNG is damaged: its pixels cannot be decompressed", _REPLACE)
    return _grey(np.asarray(pixels), tolerance=0)


def _decode_pillow(data: bytes) -> Grey:
    try:
        picture = Image.open(io.BytesIO(data))
        frames = getattr(picture, "n_frames", 1)
        picture.load()
    except UnidentifiedImageError as error:
        raise DataError("picture is damaged: its header cannot be read", _REPLACE) from error
    # Pillow's decoders report damaged files by any of these.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"picture is damaged: {error}", _REPLACE) from error
    if frames > 1:
        raise DataError(f"picture has {frames} frames", "give one picture per file")
    mode = "L" if picture.mode in ("1", "L") else "RGBA" if picture.has_transparency_data else "RGB"
    tolerance = _JPEG_ROUNDING if picture.format == "JPEG" else 0
    return _grey(np.asarray(picture.convert(mode)), tolerance)


def _grey(pixels: Grey, tolerance: int) -> Grey:
    """Return the one grey level of pixels of shape (H, W) or (H, W, 1 to 4), the fourth being opacity."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"picture has pixels of type {pixels.dtype}", "give pictures of 8 or 16 bits")
    if pixels.ndim == 2:
        return pixels
    channels = cv2.split(pixels)
    if len(channels) == 4 and int(channels[3].min()) != np.iinfo(pixels.dtype).max:
        raise DataError("picture has transparent pixels", "save it without transparency")
    if any(int(cv2.norm(channels[1], other, cv2.NORM_INF)) > tolerance for other in channels[:3:2]):
        raise DataError("picture is coloured", "give grey pictures")
    return pixels[..., 1].copy()
