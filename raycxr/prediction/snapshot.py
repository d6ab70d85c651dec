"""The file of a checkpoint: tensors and plain values, written whole, and read without unpickling anything else."""

from __future__ import annotations

import errno
import io
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, TypeAlias

import torch

from raycxr.errors import DataError
from raycxr.runs.record import STATE_FILE
from raycxr.storage.failures import local_failures
from raycxr.storage.local import replacing_path
from raycxr.storage.location import Location

Weights: TypeAlias = dict[str, torch.Tensor]
# Key of a snapshot whose weights are another run's, of that name: its epochs and metrics do not speak of them.
TAKEN_FROM = "taken_from"
# Key of a snapshot within an epoch: how far that is. Its other entries speak of the epochs before, but the weights.
MID_EPOCH = "mid_epoch"


def plain_weights(snapshot: Mapping[str, Any]) -> Weights:
    """Weights of a snapshot that were validated, in plain memory order, as safetensors stores them."""
    weights: Weights = snapshot["average"] or snapshot["model"]
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def save_snapshot(snapshot: Mapping[str, Any], folder: Location) -> None:
    """Write a snapshot into a checkpoint folder, in one piece or not at all."""
    place = folder / STATE_FILE
    if place.is_local:
        # By its path and straight into place: through a Python file, or copied once more, some hundred megabytes
        # would slow the epoch that is being trained meanwhile.
        with local_failures("write", place), replacing_path(place.local_path) as temporary_path:
            _write(snapshot, temporary_path)
        return
    with local_failures("write", gettempdir()), TemporaryDirectory() as temporary:
        _write(snapshot, Path(temporary) / STATE_FILE)
        place.copy_from(Path(temporary) / STATE_FILE)


def _write(snapshot: Mapping[str, Any], path: Path) -> None:
    try:
        torch.save(dict(snapshot), path)
    except RuntimeError as error:
        # Torch does not tell why it could not write; there is one usual reason.
        raise OSError(errno.ENOSPC, str(error)) from error


def load_snapshot(data: bytes, origin: str) -> dict[str, Any]:
    """Read a snapshot; nothing but tensors and plain values is ever unpickled."""
    try:
        snapshot: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise DataError(f"checkpoint {origin} cannot be read: {error}", "restore it, or name another one") from None
    return snapshot
