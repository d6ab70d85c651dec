"""Runs and bundles in storage: listed best first, chosen by any metric, pulled verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raycxr.config.load import load_config, to_yaml
from raycxr.config.sections import Config
from raycxr.errors import ConfigurationError, DataError, StorageError, TrainingError
from raycxr.runs.bundle import find_bundle, pull_bundle, read_bundle, write_bundle
from raycxr.runs.listing import best_run, list_runs
from raycxr.runs.metric import is_better, metric_value
from raycxr.runs.record import (
    finish_record,
    read_history,
    read_record,
    resume_record,
    start_record,
    write_history,
)
from raycxr.storage.location import Location

DATASET = {"uri": "/data", "id": "abc", "classes": ["lungs"], "splits": {"train": 3}}


def metrics(dice: float, loss: float) -> dict[str, Any]:
    return {"loss": loss, "dice": {"lungs": dice, "mean": dice}}


def make_run(parent: Location, name: str, dice: float | None, loss: float = 1.0) -> Location:
    run = parent / name
    config = Config()
    start_record(run, config, DATASET, 1)
    if dice is not None:
        entry = {"epoch": 1, "time": "2026-01-01T00:00:00+00:00", "validation": metrics(dice, loss), "best": True}
        write_history(run, [entry])
        write_bundle(
            run / "best",
            b"weights of " + name.encode(),
            to_yaml(config),
            {"epoch": 1, "split": "validation", "metrics": metrics(dice, loss)},
            {
                "classes": ["lungs"],
                "size": 32,
                "intensity": {"rule": "keep"},
                "rules": {"lungs": {"threshold": 0.5}},
            },
            "a card",
        )
    return run


@pytest.fixture
def storage(tmp_path: Path) -> Location:
    parent = Location(tmp_path / "runs")
    make_run(parent, "middling", 0.8, 0.1)
    make_run(parent, "best", 0.9, 0.3)
    make_run(parent, "unfinished", None)
    make_run(parent / "sweep", "trial", 0.5, 0.2)
    return parent


def test_runs_are_listed_best_first_also_inside_sweeps(storage: Location) -> None:
    names = [entry.location.name for entry in list_runs(storage.uri, "dice.lungs", "max")]
    assert names == ["best", "middling", "trial", "unfinished"]
    assert [entry.location.name for entry in list_runs(storage.uri, "loss", "min")][:3] == ["middling", "trial", "best"]


def test_the_best_is_pulled_with_its_runner_up(storage: Location, tmp_path: Path) -> None:
    best, second = best_run(storage.uri, "dice", "max")
    assert second is not None
    assert (best.location.name, second.location.name) == ("best", "middling")
    pull_bundle(best.location / "best", tmp_path / "pulled")
    assert (tmp_path / "pulled" / "model.safetensors").read_bytes() == b"weights of best"
    bundle = read_bundle(find_bundle(str(tmp_path / "pulled")))
    assert (bundle.epoch, bundle.classes, bundle.metrics["loss"]) == (1, ("lungs",), 0.3)


def test_a_damaged_or_half_written_bundle_is_refused(storage: Location, tmp_path: Path) -> None:
    weights = storage / "best" / "best" / "model.safetensors"
    weights.write_bytes(b"weights of besT")
    with pytest.raises(DataError):
        pull_bundle(storage / "best" / "best", tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    (storage / "best" / "best" / "bundle.json").delete()
    assert best_run(storage.uri, "dice", "max")[0].location.name == "middling"
    with pytest.raises(DataError, match="neither a bundle nor a run"):
        find_bundle((storage / "best").uri)


def test_nothing_to_pull(storage: Location, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 runs, none with a finished epoch that recorded 'auc'"):
        best_run(storage.uri, "auc", "max")
    with pytest.raises(StorageError):
        best_run(str(tmp_path / "nowhere"), "dice", "max")


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


def test_damaged_records_are_told(storage: Location) -> None:
    (storage / "best" / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run.json is not valid JSON"):
        list_runs(storage.uri, "dice", "max")
    assert read_history(storage / "unfinished") == []


def test_metric_names() -> None:
    recorded = metrics(0.9, 0.3)
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


def test_a_run_that_ended_before_its_first_epoch_does_not_keep_its_name(tmp_path: Path) -> None:
    parent = Location(tmp_path)
    run = make_run(parent, "early", None)
    with pytest.raises(TrainingError, match="exists"):
        start_record(run, Config(), DATASET, 1)
    finish_record(run, "failed", "no such encoder")
    start_record(run, Config(), DATASET, 2)
    assert (read_record(run)["status"], read_record(run)["world_size"]) == ("running", 2)
    trained = make_run(parent, "trained", 0.5)
    finish_record(trained, "failed", "the loss became nan")
    with pytest.raises(TrainingError, match="exists"):
        start_record(trained, Config(), DATASET, 1)
