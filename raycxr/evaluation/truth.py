"""True masks at their original size, read shard by shard."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raycxr.dataset.films import SplitIndex
from raycxr.dataset.manifest import read_index
from raycxr.dataset.shard import decode_mask, open_verified


class OriginalMasks:
    """Bit fields as they were drawn.

    Only one row group of one shard is unpacked at a time: at 1024 x 1024 a film's mask takes a megabyte.
    Ask for films in the order of the index.
    """

    def __init__(self, splits: SplitIndex) -> None:
        self.location, self.entries = splits.location, splits.manifest.masks
        annotated: dict[int, list[int]] = {}
        for row in read_index(splits.location):
            if row["annotated"]:
                annotated.setdefault(row["shard"], []).append(row["row"])
        self.rows = {shard: sorted(rows) for shard, rows in annotated.items()}
        self.shard: int | None = None
        self.file: pq.ParquetFile | None = None
        self.group: tuple[int, pa.Table] | None = None

    def read(self, film: dict[str, Any]) -> NDArray[np.uint8]:
        """Bit field (H, W) uint8 of one annotated row of the index."""
        position = bisect.bisect_left(self.rows[film["shard"]], film["row"])
        file = self._open(film["shard"])
        group = 0
        while position >= file.metadata.row_group(group).num_rows:
            position -= file.metadata.row_group(group).num_rows
            group += 1
        if self.group is None or self.group[0] != group:
            self.group = (group, file.read_row_group(group))
        table = self.group[1]
        height, width = table["height"][position].as_py(), table["width"][position].as_py()
        return decode_mask(table["mask"][position].as_buffer(), height, width)

    def _open(self, shard: int) -> pq.ParquetFile:
        if self.file is None or self.shard != shard:
            entry = self.entries[shard]
            self.file = open_verified(self.location / entry.name, entry.sha256)
            self.shard, self.group = shard, None
        return self.file


def exclusive(masks: NDArray[np.bool_], names: Sequence[str], precedence: Sequence[str]) -> NDArray[np.bool_]:
    """Masks (C, H, W) in which every pixel belongs to the first of its classes in the precedence only."""
    result = np.zeros_like(masks)
    taken = np.zeros(masks.shape[1:], dtype=bool)
    for name in precedence:
        if name in names:
            position = names.index(name)
            result[position] = masks[position] & ~taken
            taken |= masks[position]
    return result
