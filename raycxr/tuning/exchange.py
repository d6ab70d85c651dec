"""Population-based training (Jaderberg 2017, arXiv 1711.09846): a trial goes on from the weights of a better one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from raycxr.config.sections import Config
from raycxr.runs.record import CHECKPOINT, change_record, read_record
from raycxr.storage.location import Location

# What is learned, and not how far the run is or what it has found.
LEARNED = ("model", "optimizer", "average", "average_steps", "epoch_mean", "epoch_mean_epochs", "scaler")


def take_over(run: Location, donor: Location, config: Config, trial: Mapping[str, Any], number: str) -> None:
    """Replace a run's weights by those of another one, and its parameters by new ones.

    Its own epochs, history and best bundle stay. Where the other run has no checkpoint any more, the weights stay too.
    An exchange that has been made, before a process was lost, is not made again.

    Parameters
    ----------
    run, donor : Location
        Folders of both runs.
    config : Config
        Configuration with the new parameters.
    trial : mapping
        What the record says of the trial from now on.
    number : str
        Of this exchange, which no other has.
    """
    from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
    from raycxr.prediction.snapshot import TAKEN_FROM, save_snapshot

    if any(exchange["number"] == number for exchange in read_record(run).get("exchanges", [])):
        return
    own, others = list_checkpoints(run), list_checkpoints(donor)
    exchange = {"number": number, "from": None, "parameters": trial["parameters"]}
    if not own or not others:
        change_record(run, config, trial, exchange)
        return
    mine, theirs = read_snapshot(own[-1]), read_snapshot(others[-1])
    snapshot = mine | {key: theirs[key] for key in LEARNED} | {TAKEN_FROM: donor.name}
    save_snapshot(snapshot, run / f"{CHECKPOINT}{datetime.now():%Y-%m-%d_%H-%M-%S.%f}")
    change_record(run, config, trial, exchange | {"epoch": mine["epoch"], "from": donor.name})
