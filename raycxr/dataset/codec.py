"""Codecs of the films in a shard: pixels to bytes and back, without loss.

* ``raw``: the pixels as they are, little-endian.
* ``rowdelta+zstd``: every row less the one above it, then Zstandard. Neighbouring rows of a radiograph differ little,
  so the differences take less than half of the bytes.

A shard names the codec and the type of the pixels in one word, such as ``raw-uint8``.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raycxr.errors import DataError

Codec: TypeAlias = Literal["raw", "rowdelta+zstd"]
CODECS: tuple[Codec, ...] = ("raw", "rowdelta+zstd")
_TYPES: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "uint16": np.dtype("<u2")}
# The fastest level: higher ones save a few per cent and take many times as long.
_LEVEL = 1


def encode_image(image: NDArray[Any], codec: str) -> tuple[bytes, str]:
    """Return the bytes of a film (H, W), uint8 or uint16, and the word that names their form."""
    plain = np.ascontiguousarray(image, dtype=_TYPES[image.dtype.name])
    if codec == "raw":
        return plain.tobytes(), f"raw-{image.dtype.name}"
    differences = plain.copy()
    differences[1:] -= plain[:-1]  # wraps around, and so does the sum in decoding
    packed = pa.Codec("zstd", compression_level=_LEVEL).compress(differences.tobytes(), asbytes=True)
    return packed, f"rowdelta+zstd-{image.dtype.name}"


def decode_image(data: Any, coded: str, height: int, width: int) -> NDArray[Any]:
    """Return the pixels (H, W), uint8 or uint16, of bytes in the form that `coded` names; raw ones as a read-only view.

    Raises
    ------
    DataError
        If the form is unknown, or the bytes are not of this size.
    """
    codec, _, kind = coded.rpartition("-")
    if codec not in CODECS or kind not in _TYPES:
        raise DataError(f"codec {coded!r} is unknown, known are {', '.join(CODECS)}", "use a newer raycxr")
    size = height * width * _TYPES[kind].itemsize
    try:
        plain = data if codec == "raw" else pa.Codec("zstd").decompress(data, decompressed_size=size)
        pixels = np.frombuffer(plain, dtype=_TYPES[kind]).reshape(height, width)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"a film's {coded} bytes are damaged: {error}", "restore the shard, or delete the data set and ingest again"
        ) from None
    return pixels if codec == "raw" else np.add.accumulate(pixels, axis=0, dtype=pixels.dtype)
