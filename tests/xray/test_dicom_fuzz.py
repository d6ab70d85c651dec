"""Damaged files of every syntax: each is read or refused in one line, in bounded time, and the process lives."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from raycxr.errors import DataError
from raycxr.xray.dicom import decode_dicom

DATA = os.environ.get("RAYCXR_DATA", "")
SECONDS = 60
# A mutated film of this size decodes in milliseconds; the limit is for hangs.
LONGEST = 10


def originals(write_dicom: Callable[..., bytes]) -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 64, (120, 100))
    film = (np.add.outer(12 * np.arange(120), 20 * np.arange(100)) + noise).astype(np.uint16)
    frames = {
        "1.2.840.10008.1.2.4.51": imagecodecs.jpeg8_encode(film, bitspersample=12),
        "1.2.840.10008.1.2.4.70": imagecodecs.ljpeg_encode(film, bitspersample=12),
        "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(film),
        "1.2.840.10008.1.2.4.90": imagecodecs.jpeg2k_encode(film, codecformat="j2k", bitspersample=12),
    }
    files = {syntax: write_dicom(film, frame=bytes(frame), syntax=syntax) for syntax, frame in frames.items()}
    eight = (film >> 4).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", eight)[1].tobytes()
    files["baseline"] = write_dicom(eight, bits=8, frame=jpeg, syntax="1.2.840.10008.1.2.4.50")
    files["uncompressed"] = write_dicom(film, WindowCenter=900, WindowWidth=1800, PixelSpacing=[0.1, 0.1])
    files["rle"] = Path(str(get_testdata_file("MR_small_RLE.dcm"))).read_bytes()
    if DATA:
        files |= {path.name: path.read_bytes() for path in sorted(Path(DATA).glob("siim/dicom/*.dcm"))}
    return files


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Bytes set, cut out or put in: anywhere, in the elements before the pixels, or in the head of the frame."""
    damaged = bytearray(data)
    begin = data.rfind(b"\xe0\x7f\x10\x00")
    low, high = generator.choice([(0, len(data)), (0, begin), (begin, min(begin + 400, len(data)))])
    for _ in range(generator.choice([1, 1, 2, 4, 16])):
        at, kind = min(generator.randrange(low, high), len(damaged) - 1), generator.random()
        if kind < 0.8:
            damaged[at] = generator.choice([generator.randrange(256), 0, 255])
        elif kind < 0.9:
            del damaged[at : at + generator.randrange(1, 50)]
        else:
            damaged[at:at] = generator.randbytes(generator.randrange(1, 9))
    return bytes(damaged)


def mutate_for(seconds: float, files: dict[str, bytes]) -> None:
    generator, names = random.Random(7), sorted(files)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name, begin = generator.choice(names), time.monotonic()
        try:
            pixels = decode_dicom(mutated(files[name], generator)).pixels
            assert pixels.ndim == 2
            assert pixels.dtype in (np.uint8, np.uint16)
        except DataError as error:
            if "\n" in error.message:
                raise AssertionError(error.message) from None
        assert time.monotonic() - begin < LONGEST, name


@pytest.mark.slow
def test_mutated_films_neither_crash_nor_hang(write_dicom: Callable[..., bytes], tmp_path: Path) -> None:
    """In a process of its own, so that a crash of a decoder is a failure of this test and not of all."""
    for name, data in originals(write_dicom).items():
        (tmp_path / f"{name}.dcm").write_bytes(data)
    ended = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(SECONDS)], capture_output=True, text=True, timeout=4 * SECONDS
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stderr == ""


if __name__ == "__main__":
    mutate_for(float(sys.argv[2]), {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()})
