"""A batch in one piece of memory, which a loading process fills and the training process takes over.

The films lie one after the other, and their bit fields behind them. What is no pixel travels beside, and is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycxr.dataset.films import Batch, Films, Key

# Bytes of a pixel and of its bits: films of 16 bits are float32 by the time they are augmented.
_NARROW, _WIDE = 1 + 1, 4 + 1


class Contents(NamedTuple):
    """What lies in a batch's memory: `count` films of `height` x `width`, uint8 or, where `wide`, float32."""

    ids: list[str]
    annotated: list[bool]
    keys: list[Key]
    height: int
    width: int
    wide: bool

    @property
    def bytes(self) -> int:
        """How much of the memory is used."""
        return len(self.ids) * self.height * self.width * (_WIDE if self.wide else _NARROW)


def batch_bytes(films: Films, count: int) -> int:
    """Memory that a batch of so many films takes at most."""
    return count * films.paths.size**2 * (_WIDE if films.paths.wide else _NARROW)


def write_batch(films: Films, keys: Sequence[Key], memory: NDArray[np.uint8]) -> Contents:
    """Read films, augment them, and write them into memory, each with one copy.

    Parameters
    ----------
    memory : uint8 array (batch_bytes,)

    Raises
    ------
    DataError, StorageError
        A shard is damaged, missing or cannot be read.
    """
    items = [films[key] for key in keys]
    height, width = items[0][1].shape
    wide = any(image.dtype != np.uint8 for _, image, _, _ in items)
    contents = Contents([item[0] for item in items], [item[3] for item in items], list(keys), height, width, wide)
    shape, end = (len(items), height, width), _image_bytes(contents)
    images: NDArray[Any] = memory[:end].view(np.float32 if wide else np.uint8).reshape(shape)
    fields = memory[end : contents.bytes].reshape(shape)
    for number, (_, image, field, _) in enumerate(items):
        # In a batch with films of 16 bits, those of 8 bits are brought to the same range.
        images[number] = image / np.float32(255) if wide and image.dtype == np.uint8 else image
        fields[number] = field
    return contents


def take_batch(memory: NDArray[np.uint8], contents: Contents, pin_memory: bool) -> Batch:
    """Copy a batch out of memory that is going to be written again, into pinned memory for a GPU."""
    taken = torch.empty(contents.bytes, dtype=torch.uint8, pin_memory=pin_memory)
    taken.numpy()[:] = memory[: contents.bytes]
    return as_batch(taken, contents)


def as_batch(memory: Tensor, contents: Contents) -> Batch:
    """Batch whose tensors lie in `memory` (bytes,) uint8."""
    shape = (len(contents.ids), contents.height, contents.width)
    end = _image_bytes(contents)
    images = memory[:end].view(torch.float32 if contents.wide else torch.uint8).view(shape)
    fields = memory[end : contents.bytes].view(shape)
    return Batch(images, fields, contents.ids, torch.tensor(contents.annotated), contents.keys)


def _image_bytes(contents: Contents) -> int:
    return len(contents.ids) * contents.height * contents.width * (4 if contents.wide else 1)
