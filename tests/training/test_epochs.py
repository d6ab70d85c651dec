"""Training that is given epoch by epoch can be left after any of them, and goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.errors import StorageError
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.runs.bundle import WEIGHTS, find_bundle, read_bundle
from raycxr.runs.record import read_history
from raycxr.storage.location import Location
from raycxr.training.loop import run_training, train_epochs
from raycxr.training.progress import SilentProgress
from raycxr.training.run import claim_run
from raycxr.training.session import LocalSession

LEARNED = ("epoch", "lr", "train", "validation", "best")


@pytest.fixture
def config(phantom_config: Path) -> Config:
    return load_config(phantom_config, ["train.epochs=3", "optimizer.lr=0.05"])


def begin(config: Config, run: Location, resume: bool = False) -> Any:
    claim_run(config, run, 1, True, False, resume)
    return train_epochs(config, run, LocalSession(run, 1, "max", resume, SilentProgress()), 1)


def brief(run: Location) -> list[dict[str, Any]]:
    return [{key: entry[key] for key in LEARNED} for entry in read_history(run)]


def test_closed_after_an_epoch_its_files_are_whole_and_it_goes_on(config: Config, tmp_path: Path) -> None:
    run, whole = Location(tmp_path / "left"), Location(tmp_path / "whole")
    epochs = begin(config, run)
    entry = next(epochs)
    epochs.close()
    assert entry["epoch"] == 1
    assert read_history(run) == [entry]
    [checkpoint] = list_checkpoints(run)
    assert read_snapshot(checkpoint)["epoch"] == 1
    bundle = find_bundle(run.uri)
    assert (read_bundle(bundle).epoch, read_bundle(bundle).metrics) == (1, entry["validation"])
    # Nothing is written any more.
    names = sorted(place.uri for place in run.walk())
    assert not [name for name in names if "tmp" in Path(name).name]

    further = list(begin(config, run, resume=True))
    assert [later["epoch"] for later in further] == [2, 3]
    claim_run(config, whole, 1, True, False, False)
    progress = run_training(config, whole, LocalSession(whole, 1, "max", False, SilentProgress()), 1)
    assert progress.epoch == 3
    assert brief(run) == brief(whole)
    one, other = (read_snapshot(list_checkpoints(place)[-1])["model"] for place in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert (find_bundle(run.uri) / WEIGHTS).read_bytes() == (find_bundle(whole.uri) / WEIGHTS).read_bytes()


def test_storage_that_fails_is_told_when_it_is_left(config: Config, tmp_path: Path) -> None:
    run = Location(tmp_path / "full")
    epochs = begin(config, run)
    # Where the history goes there is no room for it.
    (tmp_path / "full" / "history.jsonl").mkdir()
    next(epochs)
    with pytest.raises(StorageError):
        epochs.close()
