"""A trial of a population goes on from the weights of another one, and stays itself in everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.films import open_splits
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.prediction.snapshot import TAKEN_FROM
from raycxr.prediction.target import target_kind
from raycxr.runs.bundle import MARKER, WEIGHTS, read_bundle
from raycxr.runs.record import BEST, read_history, read_record
from raycxr.storage.location import Location
from raycxr.training.loop import train_epochs
from raycxr.training.progress import SilentProgress
from raycxr.training.rule_search import training_rules
from raycxr.training.run import claim_run
from raycxr.training.saver import Saver
from raycxr.training.session import LocalSession
from raycxr.training.state import Progress
from raycxr.tuning.exchange import LEARNED, take_over

OWN = ("schedule", "epoch", "best_epoch", "best_value", "best_metrics", "history", "films_per_pass")


def first_epoch(config: Config, run: Location, resume: bool = False) -> dict[str, Any]:
    """Train one epoch of a run that is planned for more."""
    claim_run(config, run, 1, True, False, resume, {"candidate": 0, "member": None, "parameters": {}})
    epochs = train_epochs(config, run, LocalSession(run, 1, "max", resume, SilentProgress()), 1)
    entry = next(epochs)
    epochs.close()
    return entry


def test_weights_are_taken_over_and_nothing_else(phantom_config: Path, tmp_path: Path) -> None:
    own = load_config(phantom_config, ["train.epochs=3", "train.seed=1", "optimizer.lr=0.001", "optimizer.name=adam"])
    other = load_config(phantom_config, ["train.epochs=3", "train.seed=2", "optimizer.lr=0.02", "optimizer.name=adam"])
    run, donor = Location(tmp_path / "trial_000"), Location(tmp_path / "trial_001")
    entry = first_epoch(own, run)
    first_epoch(other, donor)
    [before], [theirs] = list_checkpoints(run), list_checkpoints(donor)
    mine, given, bundle = read_snapshot(before), read_snapshot(theirs), (run / BEST / WEIGHTS).read_bytes()

    changed = own.model_copy(update={"optimizer": own.optimizer.model_copy(update={"lr": 0.016, "weight_decay": 0.25})})
    described = {"candidate": 0, "member": None, "parameters": {"optimizer.lr": 0.016}}
    take_over(run, donor, changed, described, "first")

    assert list_checkpoints(run)[0] == before
    taken = read_snapshot(list_checkpoints(run)[-1])
    assert all(torch.equal(taken["model"][name], given["model"][name]) for name in given["model"])
    assert not all(torch.equal(taken["model"][name], mine["model"][name]) for name in mine["model"])
    assert all(taken[key] == mine[key] for key in OWN)
    assert taken["history"] != given["history"]
    assert mine.keys() - {"value", "taken_from"} == {*OWN, *LEARNED}
    assert taken[TAKEN_FROM] == "trial_001"
    assert read_history(run) == [entry]
    record = read_record(run)
    assert Config.model_validate(record["config"]) == changed
    assert record["trial"] == described
    assert record["exchanges"] == [
        {"number": "first", "epoch": 1, "from": "trial_001", "parameters": {"optimizer.lr": 0.016}}
    ]
    # A process that was lost since, and is replaced, does not make it again.
    checkpoints = list_checkpoints(run)
    take_over(run, donor, changed, described, "first")
    assert (list_checkpoints(run), read_record(run)) == (checkpoints, record)

    # The weights of the donor are not what its best epoch is known for.
    splits = open_splits(changed)
    target = target_kind(changed.dataset, splits.manifest.classes)
    assert mine["best_epoch"] == 1
    for whole in (True, False):
        if not whole:
            (run / BEST / MARKER).delete()
        saver = Saver(run, changed, target, splits, training_rules(changed, target), print)
        progress = Progress(1, 1, taken["best_value"], taken["best_metrics"], taken["history"])
        saver.resume(progress, taken)
        saver.close()
        assert (run / BEST / WEIGHTS).read_bytes() == bundle
        assert read_bundle(run / BEST).epoch == 1

    second = first_epoch(changed, run, resume=True)
    # The rate of the cosine at the last step of the second of three epochs.
    assert (second["epoch"], second["lr"]) == (2, pytest.approx(0.016 * 0.75))
    assert [known["epoch"] for known in read_history(run)] == [1, 2]
    latest = read_snapshot(list_checkpoints(run)[-1])
    assert TAKEN_FROM not in latest
    # Every option of the optimizer is the new one, not the donor's.
    assert latest["optimizer"]["param_groups"][0]["weight_decay"] == 0.25


def test_without_a_checkpoint_there_is_nothing_to_take(phantom_config: Path, tmp_path: Path) -> None:
    config = load_config(phantom_config)
    run, donor = Location(tmp_path / "run"), Location(tmp_path / "donor")
    described = {"candidate": 0, "member": None, "parameters": {"optimizer.lr": 0.5}}
    for place in (run, donor):
        claim_run(config, place, 1, True, False, False, {**described, "parameters": {}})
    changed = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": 0.5})})
    take_over(run, donor, changed, described, "first")
    assert list_checkpoints(run) == []
    assert read_record(run)["trial"] == described
    # It goes on with its new parameters all the same.
    claim_run(changed, run, 1, True, False, True)
