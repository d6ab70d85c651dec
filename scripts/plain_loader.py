"""The data sets that people write by hand, which `scripts/bench_training.py loader` measures ours against.

Each is a plain torch `Dataset` for `DataLoader(batch_size, shuffle=True, num_workers, persistent_workers=True)`, whose
own collate makes batches of the tensors: over the Parquet shards, over DICOM files, and over PNG files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import torch
from plain_ingest import decode, read_table
from torch.utils.data import Dataset

from raycxr.dataset.augment import Augmentation

Item = tuple[torch.Tensor, torch.Tensor]


class PlainFilms(Dataset[Item], ABC):
    """Films that are read, augmented and returned as tensors."""

    def __init__(self, films: int, augmentation: Augmentation) -> None:
        self.films, self.augmentation = films, augmentation

    def __len__(self) -> int:
        return self.films

    def __getitem__(self, number: int) -> Item:
        cv2.setNumThreads(0)
        image, mask = self.read(number)
        image, mask = self.augmentation(image, mask, int(np.random.randint(1_000_000)), str(number))
        return torch.from_numpy(image.copy()), torch.from_numpy(mask.copy())

    @abstractmethod
    def read(self, number: int) -> tuple[Any, Any]:
        """Film and mask (H, W) uint8."""


class ShardFilms(PlainFilms):
    """Films of Parquet shards with raw pixels, each shard a table in memory from its first film on."""

    def __init__(self, folder: Path, augmentation: Augmentation) -> None:
        self.files = sorted((folder / "shards").glob("*.parquet"))
        self.places = [(file, row) for file in self.files for row in range(pq.read_metadata(file).num_rows)]
        self.tables: dict[Path, pa.Table] = {}
        super().__init__(len(self.places), augmentation)

    def read(self, number: int) -> tuple[Any, Any]:
        file, row = self.places[number]
        if file not in self.tables:
            self.tables[file] = pq.read_table(file)
        table = self.tables[file]
        side = table["height"][row].as_py()
        image, mask = (np.frombuffer(table[name][row].as_py(), np.uint8) for name in ("image", "mask"))
        return image.reshape(side, side), mask.reshape(side, side)


class DicomFilms(PlainFilms):
    """SIIM DICOM files and their table of run lengths."""

    def __init__(self, folder: Path, size: int, augmentation: Augmentation) -> None:
        self.size, self.runs = size, read_table(folder / "train-rle.csv")
        self.files = [path for path in sorted(folder.rglob("*.dcm")) if path.stem in self.runs]
        super().__init__(len(self.files), augmentation)

    def read(self, number: int) -> tuple[Any, Any]:
        pixels = pydicom.dcmread(self.files[number]).pixel_array
        mask = decode(self.runs[self.files[number].stem])
        return _small(pixels, self.size), cv2.resize(mask, (self.size,) * 2, interpolation=cv2.INTER_NEAREST)


class PngFilms(PlainFilms):
    """PNG films and PNG masks of the same names in two folders."""

    def __init__(self, folder: Path, size: int, augmentation: Augmentation) -> None:
        self.size, self.masks = size, folder / "png_masks"
        self.files = sorted((folder / "png_images").glob("*.png"))
        super().__init__(len(self.files), augmentation)

    def read(self, number: int) -> tuple[Any, Any]:
        pixels, mask = (
            cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            for path in (self.files[number], self.masks / self.files[number].name)
        )
        small = cv2.resize(mask, (self.size,) * 2, interpolation=cv2.INTER_NEAREST)
        return _small(pixels, self.size), (small > 0).astype(np.uint8)


def _small(pixels: Any, size: int) -> Any:
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
