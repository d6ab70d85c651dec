"""Runs and bundles in storage: claimed once, resumed as the same experiment, pulled verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.errors import ConfigurationError, DataError, TrainingError
from raycxr.runs.bundle import find_bundle, pull_bundle, read_bundle
from raycxr.runs.metric import is_better, metric_value
from raycxr.runs.record import (
    finish_record,
    read_history,
    read_record,
    resume_record,
    start_record,
)
from raycxr.storage.location import Location

DATASET = {"uri": "/data", "id": "abc", "classes": ["lungs"], "splits": {"train": 3}}


@pytest.fixture
def storage(tmp_path: Path, make_run: Callable[..., Location]) -> Location:
    parent = Location(tmp_path / "runs")
    make_run(parent, "middling", 0.8, 0.1)
    make_run(parent, "best", 0.9, 0.3)
    make_run(parent, "unfinished")
    return parent


def test_a_bundle_says_what_it_is(storage: Location, tmp_path: Path) -> None:
    pull_bundle(storage / "best" / "best", tmp_path / "pulled")
    assert (tmp_path / "pulled" / "model.safetensors").read_bytes() == b"weights of best"
    bundle = read_bundle(find_bundle(str(tmp_path / "pulled")))
    assert (bundle.epoch, bundle.classes, bundle.metrics["loss"]) == (1, ("lungs",), 0.3)


def test_a_damaged_or_half_written_bundle_is_refused(storage: Location, tmp_path: Path) -> None:
    weights = storage / "best" / "best" / "model.safetensors"
    weights.write_bytes(b"weights of besT")
    with pytest.raises(DataError, match="is damaged"):
        pull_bundle(storage / "best" / "best", tmp_path / "pulled")
    (storage / "best" / "best" / "bundle.json").delete()
    with pytest.raises(DataError, match="half-written"):
        pull_bundle(storage / "best" / "best", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    with pytest.raises(DataError, match="neither a bundle nor a run"):
        find_bundle((storage / "best").uri)


def test_a_run_name_is_taken_once(storage: Location) -> None:
    with pytest.raises(TrainingError, match=r"exists - choose another train.name, or continue it with --resume best"):
        start_record(storage / "best", Config(), DATASET, 1)


def test_only_the_same_experiment_is_resumed(storage: Location, tmp_path: Path) -> None:
    run = storage / "middling"
    finish_record(run, "failed", "lost power")
    assert read_record(run)["reason"] == "lost power"
    config_file = tmp_path / "c.yaml"
    config_file.write_text("storage: {uri: runs}")
    harmless = ["storage.uri=/elsewhere", "resources.workers=2", "postprocess.search=true"]
    resume_record(run, load_config(config_file, harmless), DATASET, 2)
    record = read_record(run)
    assert (record["status"], record["resumed_world_size"]) == ("running", 2)
    assert "reason" not in record
    with pytest.raises(TrainingError, match=r"other settings: optimizer.lr, train.epochs"):
        resume_record(run, load_config(config_file, ["train.epochs=9", "optimizer.lr=9"]), DATASET, 1)
    with pytest.raises(TrainingError, match="data set abc"):
        resume_record(run, Config(), DATASET | {"id": "other"}, 1)
    with pytest.raises(TrainingError, match="no run"):
        resume_record(storage / "never", Config(), DATASET, 1)


def test_a_run_without_an_epoch_has_no_history(storage: Location) -> None:
    assert read_history(storage / "unfinished") == []


def test_metric_names() -> None:
    recorded = {"loss": 0.3, "dice": {"lungs": 0.9, "mean": 0.9}}
    assert metric_value(recorded, "dice") == metric_value(recorded, "dice.mean") == 0.9
    with pytest.raises(ConfigurationError, match=r"choose from loss, dice.lungs, dice.mean"):
        metric_value(recorded, "dice.heart")
    assert not is_better(float("nan"), 0.1, "max")
    assert is_better(0.1, float("nan"), "max")
    assert is_better(0.1, 0.2, "min")
    assert not is_better(0.2, 0.2, "min")


def test_the_record_tells_what_was_run(storage: Location) -> None:
    record = json.loads((storage / "best" / "run.json").read_text())
    assert record["dataset"] == DATASET
    assert {"torch", "ray", "python"} <= set(record["versions"])
    assert Config.model_validate(record["config"]) == Config()


def test_a_run_that_ended_before_its_first_epoch_does_not_keep_its_name(
    tmp_path: Path, make_run: Callable[..., Location]
) -> None:
    parent = Location(tmp_path)
    run = make_run(parent, "early")
    with pytest.raises(TrainingError, match="exists"):
        start_record(run, Config(), DATASET, 1)
    finish_record(run, "failed", "no such encoder")
    start_record(run, Config(), DATASET, 2)
    assert (read_record(run)["status"], read_record(run)["world_size"]) == ("running", 2)
    trained = make_run(parent, "trained", 0.5)
    finish_record(trained, "failed", "the loss became nan")
    with pytest.raises(TrainingError, match="exists"):
        start_record(trained, Config(), DATASET, 1)
