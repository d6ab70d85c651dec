"""What Ray Train leaves to be tidied in a run's folder: its list of checkpoints, and those that are not in it."""

from __future__ import annotations

import json

from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME

from raycxr.runs.record import MID_EPOCH_CHECKPOINT
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location


def drop_broken_list(run: Location) -> None:
    """Delete the list where Ray would refuse it: half written, as a full disk leaves it, or naming what is not there.

    The workers then look for the furthest checkpoint themselves.
    """
    place = run / CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
    try:
        listed = json.loads(place.read_text())["checkpoint_results"]
        whole = all((run / checkpoint["checkpoint_dir_name"]).exists() for checkpoint in listed)
    except MissingError:
        return
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        place.delete()


def delete_mid_epoch(run: Location) -> None:
    """Delete what a finished run has left of checkpoints within epochs.

    Ray does not know those whose workers were lost before it had entered them.
    """
    for place in run.list():
        if place.name.startswith(MID_EPOCH_CHECKPOINT):
            place.delete_tree()
