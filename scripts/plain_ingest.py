"""The hand-written ingest that `raycxr ingest` is measured against: one file, a pool of processes or one loop.

Reads SIIM DICOMs and their run-length table and writes the same rows as `raycxr ingest` with the rule `percentile` and
the codec given: films and masks at the training size, masks at their own size, and the hashes of the index. It knows
nothing of damaged films, object storage, other transfer syntaxes, or of being killed.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
from pydicom.encaps import get_frame

SIDE = 1024
Row = dict[str, object]


def read_table(table: Path) -> dict[str, list[str]]:
    """Run lengths of every film."""
    rows: dict[str, list[str]] = defaultdict(list)
    with table.open() as file:
        for image, runs in list(csv.reader(file))[1:]:
            rows[image].append(runs.strip())
    return rows


def write_shard(task: tuple[int, list[tuple[Path, list[str]]], Path, int, str, bool]) -> int:
    """Convert the films of one shard, with pydicom's `pixel_array` or faster; return how many."""
    number, films, out, size, codec, by_pydicom = task
    cv2.setNumThreads(1)
    converted = [convert(path, runs, size, codec, by_pydicom) for path, runs in films]
    write([film for film, _, _ in converted], out / f"films-{number:05d}.parquet")
    write([mask for _, mask, _ in converted], out / f"masks-{number:05d}.parquet")
    write([index for _, _, index in converted], out / f"index-{number:05d}.parquet")
    return len(films)


def convert(path: Path, runs: list[str], size: int, codec: str, by_pydicom: bool) -> tuple[Row, Row, Row]:
    """Rows of the film, of its mask and of the index."""
    data = path.read_bytes()
    film = pydicom.dcmread(io.BytesIO(data))
    if by_pydicom:
        pixels = film.pixel_array
    else:
        frame = get_frame(film.PixelData, 0, number_of_frames=1)
        pixels = np.asarray(cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE))
    counts = cv2.calcHist([pixels], [0], None, [256], [0, 256]).ravel().cumsum()
    low, high = (int(np.searchsorted(counts, counts[-1] * share)) for share in (0.005, 0.995))
    table = np.clip((np.arange(256) - low) / max(1, high - low), 0, 1) * 255
    image = cv2.resize(cv2.LUT(pixels, np.rint(table).astype(np.uint8)), (size, size), interpolation=cv2.INTER_AREA)
    mask = decode(runs)
    small = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    row: Row = {
        "id": path.stem,
        "image": compress(image) if codec != "raw" else image.tobytes(),
        "mask": small.astype(np.uint8).tobytes(),
    }
    index: Row = {
        "id": path.stem,
        "patient": hashlib.sha256(str(film.PatientID).encode()).hexdigest(),
        "pixels": int(mask.sum()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }
    return row, {"id": path.stem, "mask": mask.tobytes()}, index


def decode(runs: list[str]) -> np.ndarray:
    """Mask of all run lengths of one film."""
    mask = np.zeros(SIDE * SIDE, np.uint8)
    for text in runs:
        if text != "-1":
            numbers = np.array(text.split(), dtype=np.int64)
            ends = np.cumsum(numbers)[1::2]
            for end, length in zip(ends, numbers[1::2], strict=True):
                mask[end - length : end] = 1
    return np.ascontiguousarray(mask.reshape(SIDE, SIDE).T)


def compress(image: np.ndarray) -> bytes:
    """Row differences, compressed."""
    differences = image.copy()
    differences[1:] -= image[:-1]
    packed: bytes = pa.Codec("zstd", compression_level=1).compress(differences.tobytes(), asbytes=True)
    return packed


def write(rows: list[Row], path: Path) -> None:
    compression = {name: "NONE" if name == "image" else "ZSTD" for name in rows[0]}
    pq.write_table(pa.Table.from_pylist(rows), path, compression=compression, use_dictionary=False)
