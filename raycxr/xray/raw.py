"""The raw format of the JSRT films (Shiraishi et al., AJR 2000): big-endian 16-bit values, no header."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raycxr.errors import DataError

RAW_SIDE = 2048
RAW_BITS = 12
RAW_PIXEL_MM = 0.175


def decode_raw(data: bytes, height: int = RAW_SIDE, width: int = RAW_SIDE) -> NDArray[np.uint16]:
    """Read a raw film.

    Parameters
    ----------
    data : bytes
        Exactly ``2 * height * width`` bytes, row after row, most significant byte first.

    Returns
    -------
    uint16 array (height, width)
        The stored values; those of JSRT use 12 bits and are inverted (lungs high).

    Raises
    ------
    DataError
        If there are too few or too many bytes.
    """
    expected = 2 * height * width
    if len(data) != expected:
        fault = "truncated" if len(data) < expected else "too long"
        raise DataError(
            f"raw film is {fault}: {len(data)} bytes, {width}x{height} pixels of 16 bits are {expected}",
            "copy the file again from its original",
        )
    return np.frombuffer(data, dtype=">u2").reshape(height, width).astype(np.uint16)


def encode_raw(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Write an image of shape (height, width) as big-endian 16-bit values."""
    return image.astype(">u2").tobytes()
