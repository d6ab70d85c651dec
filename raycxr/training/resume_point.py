"""Where a run goes on from: the furthest of its checkpoints that can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from raycxr.errors import DataError
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.prediction.snapshot import MID_EPOCH
from raycxr.runs.record import CHECKPOINT, MID_EPOCH_CHECKPOINT
from raycxr.storage.location import Location


@dataclass
class ResumePoint:
    """What the checkpoints of a run hold.

    Attributes
    ----------
    snapshot : dict or None
        The furthest one; None where there is none.
    of_epochs : list of (float, Location)
        Those at the end of an epoch, with its value of the run's metric, oldest first.
    mid_epoch : list of Location
        Those within an epoch.
    """

    snapshot: dict[str, Any] | None = None
    of_epochs: list[tuple[float, Location]] = field(default_factory=list)
    mid_epoch: list[Location] = field(default_factory=list)


def find_resume_point(run: Location, tell: Callable[[str], None]) -> ResumePoint:
    """Read all checkpoints of a run.

    The furthest one is told by what it holds: the clocks that name them are those of different nodes.

    Parameters
    ----------
    tell : callable
        Says in one line that a newer one than the furthest cannot be read.

    Raises
    ------
    DataError
        There are checkpoints, and none of them can be read.
    """
    found, damaged, furthest = ResumePoint(), [], (-1, -1, "")
    for folder in [*list_checkpoints(run), *list_checkpoints(run, MID_EPOCH_CHECKPOINT)]:
        try:
            snapshot = read_snapshot(folder)
        except DataError as error:
            damaged.append((folder, error))
            continue
        if MID_EPOCH in snapshot:
            found.mid_epoch.append(folder)
        else:
            # Checkpoints of earlier versions do not tell their own value.
            found.of_epochs.append((snapshot.get("value", snapshot["best_value"]), folder))
        place = (snapshot["epoch"], snapshot.get(MID_EPOCH, {}).get("step", 0), _time(folder))
        if place > furthest:
            furthest, found.snapshot = place, snapshot
    if damaged and found.snapshot is None:
        raise DataError(f"run {run.name} has nothing to go on from: {damaged[-1][1].message}", "start a new run")
    for folder, _ in damaged:
        if _time(folder) > furthest[2]:
            tell(f"checkpoint {folder.name} cannot be read: going on from {_position(furthest)}, saved before it")
    return found


def _time(folder: Location) -> str:
    """When a checkpoint was begun, as its name tells."""
    return folder.name.removeprefix(MID_EPOCH_CHECKPOINT).removeprefix(CHECKPOINT)


def _position(place: tuple[int, int, str]) -> str:
    epoch, step, _ = place
    return f"step {step} of epoch {epoch + 1}" if step else f"the end of epoch {epoch}"
