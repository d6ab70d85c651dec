"""The checkpoints of a run: found, ranked, and used in place of its best bundle.

They lie in the run's folder and are written alike with and without Ray Train.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from raycxr.errors import DataError, UsageError
from raycxr.prediction.snapshot import Weights, load_snapshot, plain_weights
from raycxr.runs.bundle import MARKER, Bundle, read_bundle
from raycxr.runs.metric import default_mode, metric_value
from raycxr.runs.record import BEST, CHECKPOINT, RECORD, STATE_FILE, read_record
from raycxr.storage.location import Location


def list_checkpoints(run: Location, prefix: str = CHECKPOINT) -> list[Location]:
    """Folders of the checkpoints that were written whole, oldest first: of epochs, or of another kind by its prefix."""
    folders = [place for place in run.list() if place.name.startswith(prefix)]
    return [folder for folder in folders if (folder / STATE_FILE).exists()]


def read_snapshot(folder: Location) -> dict[str, Any]:
    """Read a checkpoint; nothing but tensors and plain values is ever unpickled."""
    return load_snapshot((folder / STATE_FILE).read_bytes(), str(folder))


def best_checkpoints(run: Location, count: int) -> list[Location]:
    """Checkpoints of a run's best epochs by its own metric, best first.

    Raises
    ------
    DataError
        There is no such run.
    UsageError
        It has not kept them.
    """
    if not (run / RECORD).exists():
        raise DataError(f"{run} is no run, only a run has checkpoints: no {RECORD}", f"see raycxr runs {run.parent}")
    metric = read_record(run)["config"]["train"]["metric"]
    kept: list[tuple[float, Location]] = []
    epochs: list[float] = []
    for folder in list_checkpoints(run):
        # The last checkpoint knows all epochs.
        epochs = [
            _rank(metric_value(entry["validation"], metric), metric) for entry in read_snapshot(folder)["history"]
        ]
        kept.append((epochs[-1], folder))
    kept.sort(key=lambda item: item[0])
    if len(kept) < count or [rank for rank, _ in kept[:count]] != sorted(epochs)[:count]:
        raise UsageError(
            f"run {run} has not kept the checkpoints of its {count} best epochs",
            f"train with train.num_to_keep={count} or more, or ask for fewer --checkpoints",
        )
    return [folder for _, folder in kept[:count]]


def read_checkpoint(folder: Location) -> tuple[Bundle, Weights]:
    """Weights of a checkpoint as they were validated, and what the run's best bundle says of such a network.

    Epoch and metrics are the checkpoint's own; the decision rule is the one that was found for the best epoch.

    Raises
    ------
    DataError
        The checkpoint is damaged, or does not lie in its run any more.
    """
    best = folder.parent / BEST
    if not (best / MARKER).exists():
        raise DataError(
            f"checkpoint {folder} has no {BEST}/ beside it that tells its configuration",
            "name a checkpoint inside its run, after the run's first epoch",
        )
    snapshot = read_snapshot(folder)
    entry = snapshot["history"][-1]
    described = replace(read_bundle(best), location=folder, epoch=entry["epoch"], metrics=entry["validation"])
    return described, plain_weights(snapshot)


def _rank(value: float, metric: str) -> float:
    """Number that is the lower the better a metric is; an undefined one is the worst."""
    if value != value:
        return math.inf
    return -value if default_mode(metric) == "max" else value
