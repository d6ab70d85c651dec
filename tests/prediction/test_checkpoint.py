"""Checkpoints of a run stand in for its best bundle, one or the best few of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.errors import DataError, UsageError
from raycxr.prediction.bundle import load_model
from raycxr.prediction.checkpoint import best_checkpoints, list_checkpoints, read_snapshot
from raycxr.prediction.snapshot import plain_weights
from raycxr.runs.bundle import find_bundle
from raycxr.runs.record import BEST, STATE_FILE, read_history
from raycxr.storage.location import Location
from raycxr.training.run import train, train_here
from raycxr.training.session import LocalSession

EPOCHS = 5


@pytest.fixture(scope="module")
def run(phantom_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Location:
    """A run of five epochs that keeps its three best checkpoints."""
    folder = tmp_path_factory.mktemp("runs")
    overrides = [f"storage.uri={folder}", "train.name=kept", f"train.epochs={EPOCHS}", "train.num_to_keep=3",
                 "train.ema_decay=0.9", "train.metric=loss", "optimizer.lr=0.05"]  # fmt: skip
    config = load_config(phantom_config, overrides)
    return Location(train(config, phantom_config, None, train_here, print).run)


def test_a_checkpoint_is_read_as_it_was_validated(run: Location) -> None:
    for folder in list_checkpoints(run):
        snapshot = read_snapshot(folder)
        model, target, bundle = load_model(find_bundle(folder.uri))
        assert (bundle.location, bundle.epoch) == (folder, snapshot["epoch"])
        assert bundle.metrics == read_history(run)[snapshot["epoch"] - 1]["validation"]
        assert target.classes == ("lungs", "heart", "clavicles")
        # The averaged weights, not those of the last step.
        assert all(torch.equal(value, plain_weights(snapshot)[key]) for key, value in model.state_dict().items())
        assert any(not torch.equal(value, snapshot["model"][key]) for key, value in model.state_dict().items())


def test_the_checkpoint_of_the_best_epoch_is_the_best_bundle(run: Location) -> None:
    from_checkpoint, _, bundle = load_model(best_checkpoints(run, 1)[0])
    from_best, _, best = load_model(run / BEST)
    assert (bundle.epoch, bundle.metrics, bundle.rules) == (best.epoch, best.metrics, best.rules)
    assert all(torch.equal(value, from_best.state_dict()[key]) for key, value in from_checkpoint.state_dict().items())


def test_the_best_checkpoints_are_those_of_the_best_epochs(run: Location) -> None:
    ranked = sorted(read_history(run), key=lambda entry: entry["validation"]["loss"])
    epochs = [read_snapshot(folder)["epoch"] for folder in best_checkpoints(run, 3)]
    assert epochs == [entry["epoch"] for entry in ranked[:3]]
    with pytest.raises(UsageError, match="has not kept the checkpoints of its 5 best epochs") as caught:
        best_checkpoints(run, EPOCHS)
    assert "train.num_to_keep=5" in caught.value.remedy
    with pytest.raises(DataError, match="only a run has checkpoints"):
        best_checkpoints(run / BEST, 1)


def test_a_resumed_run_still_knows_its_best_checkpoints(run: Location) -> None:
    session = LocalSession(run, 3, "min", resume=True)
    session.latest_checkpoint()
    losses = [entry["validation"]["loss"] for entry in read_history(run)]
    kept = {folder.name: value for value, folder in session.kept}
    assert kept == {folder.name: losses[read_snapshot(folder)["epoch"] - 1] for folder in list_checkpoints(run)}


def test_a_checkpoint_outside_its_run_says_so(run: Location, tmp_path: Path) -> None:
    folder = list_checkpoints(run)[0]
    shutil.copytree(folder.local_path, tmp_path / folder.name)
    with pytest.raises(DataError, match="no best/ beside it"):
        load_model(find_bundle(str(tmp_path / folder.name)))
    (tmp_path / folder.name / STATE_FILE).write_bytes(b"nothing")
    shutil.copytree((run / BEST).local_path, tmp_path / BEST)
    with pytest.raises(DataError, match="cannot be read"):
        load_model(find_bundle(str(tmp_path / folder.name)))
