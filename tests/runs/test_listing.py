"""Runs are listed with the metrics of what can be pulled, filtered by any key, in any order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raycxr.errors import ConfigurationError, DataError, StorageError
from raycxr.runs.condition import parse_condition
from raycxr.runs.listing import (
    best_first,
    check_recorded,
    chosen_metric,
    filter_runs,
    list_runs,
    read_entry,
    sort_runs,
)
from raycxr.runs.record import read_record
from raycxr.storage.location import Location

MakeRun = Callable[..., Location]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path, make_run: MakeRun) -> Location:
    parent = Location(tmp_path / "runs" if request.param == "local" else str(request.getfixturevalue("s3_folder")))
    make_run(parent, "middling", 0.8, 0.1, {"optimizer": {"lr": 0.01}})
    make_run(parent, "best", 0.9, 0.3, {"optimizer": {"lr": 0.1}})
    make_run(parent, "unfinished")
    make_run(parent / "sweep", "trial", 0.5, 0.2, {"model": {"name": "fpn"}}, weights=False)
    (parent / "notes.txt").write_text("no run")
    (parent / "data" / "shards" / "0.parquet").write_bytes(b"no run either")
    return parent


def names(entries: Any) -> list[str]:
    return [entry.location.name for entry in entries]


def test_runs_are_listed_best_first_also_inside_sweeps(storage: Location) -> None:
    entries = list_runs(storage.uri)
    assert names(best_first(entries, "dice.lungs", "max")) == ["best", "middling", "trial", "unfinished"]
    assert names(best_first(entries, "loss", "min")) == ["middling", "trial", "best", "unfinished"]
    assert names(list_runs((storage / "best").uri)) == ["best"]


def test_a_run_without_weights_is_listed_with_the_best_epoch_of_its_history(storage: Location) -> None:
    entries = {entry.location.name: entry for entry in list_runs(storage.uri)}
    trial = entries["trial"]
    assert (trial.has_bundle, trial.best_epoch, trial.value("dice"), trial.epochs) == (False, 1, 0.5, 1)
    assert (entries["best"].has_bundle, entries["best"].value("loss")) == (True, 0.3)
    assert (entries["unfinished"].has_bundle, entries["unfinished"].metrics) == (False, {})


def test_the_best_epoch_is_the_last_that_was_the_best(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(Location(tmp_path), "run", 0.5, weights=False)
    lines = [
        {"epoch": epoch, "time": f"2026-01-0{epoch}", "validation": {"dice": {"mean": dice}}, "best": best}
        for epoch, dice, best in ((1, 0.5, True), (2, 0.7, True), (3, 0.6, False))
    ]
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entry = read_entry(run)
    assert (entry.best_epoch, entry.value("dice"), entry.epochs) == (2, 0.7, 3)


def test_what_a_bundle_says_of_itself_goes_before_the_history(tmp_path: Path, make_run: MakeRun) -> None:
    """It knows the score of the decision rule, and a history is written after its bundle."""
    run = make_run(Location(tmp_path), "run", 0.5)
    metrics = {"epoch": 2, "split": "validation", "metrics": {"score": {"lungs": 0.8, "mean": 0.8}}}
    (run / "best" / "metrics.json").write_text(json.dumps(metrics))
    entry = read_entry(run)
    assert (entry.best_epoch, entry.value("score"), entry.value("dice")) == (2, 0.8, None)
    (run / "best" / "bundle.json").delete()  # as it is while it is replaced
    entry = read_entry(run)
    assert (entry.best_epoch, entry.value("dice"), entry.has_bundle) == (1, 0.5, False)


def test_the_history_of_a_classifier_says_nothing_of_its_worth(tmp_path: Path, make_run: MakeRun) -> None:
    config = {"classify": {"label": "tb", "encoder": "resnet18"}}
    run = make_run(Location(tmp_path), "run", 0.5, config=config, weights=False)
    lines = [
        {"fold": fold, "epoch": 1, "time": "2026-01-01", "validation": {"loss": 0.1, "auc": 0.99}, "best": True}
        for fold in ("fold 1", None)
    ]
    (run / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    entry = read_entry(run)
    assert (entry.metrics, entry.best_epoch, entry.epochs, entry.chosen_by) == ({}, None, 1, "auc")
    assert entry.model == "classifier resnet18"


def test_any_key_filters(storage: Location) -> None:
    entries = list_runs(storage.uri)

    def found(*texts: str, statuses: tuple[str, ...] = ()) -> list[str]:
        return names(filter_runs(entries, [parse_condition(text) for text in texts], statuses))

    assert found("model.name=fpn") == ["trial"]
    assert found("model.name!=fpn", "optimizer.lr>=0.01") == ["best", "middling"]
    assert found("optimizer.lr<1e-2", "status=finished") == ["trial"]
    assert found(statuses=("running",)) == ["unfinished"]
    assert found("status!=running", statuses=("finished", "failed")) == ["best", "middling", "trial"]
    assert found("model.name=pan") == []
    with pytest.raises(ConfigurationError, match=r"unknown key 'model.nmae' - did you mean 'name'"):
        found("model.nmae=unet")


def test_runs_are_sorted_by_anything(storage: Location) -> None:
    record = read_record(storage / "middling")
    (storage / "middling" / "run.json").write_text(json.dumps(record | {"status": "failed", "updated": "2999-01-01"}))
    entries = list_runs(storage.uri)

    def order(name: str) -> list[str]:
        return names(sort_runs(entries, name, "dice.mean", "max"))

    assert order("metric") == ["best", "middling", "trial", "unfinished"]
    assert order("run") == ["best", "middling", "trial", "unfinished"]
    assert order("status") == ["middling", "best", "trial", "unfinished"]
    assert order("optimizer.lr") == ["trial", "unfinished", "middling", "best"]
    assert order("model.name") == ["trial", "best", "middling", "unfinished"]
    assert order("updated")[0] == "middling"
    assert order("train.patience") == order("metric")  # null everywhere
    with pytest.raises(ConfigurationError, match=r"unknown key 'metrc' - did you mean 'metric'"):
        order("metrc")


def test_runs_are_compared_by_what_they_were_chosen_by(tmp_path: Path, make_run: MakeRun) -> None:
    place = Location(tmp_path / "runs")
    make_run(place, "a", 0.5, config={"train": {"metric": "loss"}})
    make_run(place, "b", 0.6, config={"train": {"metric": "loss"}})

    def chosen(metric: str | None = None, mode: Any = None) -> tuple[str, str]:
        return chosen_metric(place, list_runs(place.uri), metric, mode)

    assert chosen() == ("loss", "min")
    assert chosen("dice") == ("dice", "max")
    assert chosen(mode="max") == ("loss", "max")
    make_run(place, "c", 0.7)
    assert chosen() == ("dice.mean", "max")
    (place / "sweep.json").write_text(json.dumps({"space": {}, "metric": "hd95.lungs", "mode": "max"}))
    assert chosen() == ("hd95.lungs", "max")
    assert chosen("hd95.lungs") == ("hd95.lungs", "max")
    assert chosen("loss") == ("loss", "min")
    assert chosen(mode="min") == ("hd95.lungs", "min")


def test_a_metric_that_no_run_recorded_is_told(storage: Location) -> None:
    entries = list_runs(storage.uri)
    check_recorded(entries, "dice")
    with pytest.raises(ConfigurationError, match="no run of 4 runs recorded the metric 'auc'") as caught:
        check_recorded(entries, "auc")
    assert caught.value.remedy == "choose from loss, dice.lungs, dice.mean"
    check_recorded([entry for entry in entries if not entry.metrics], "auc")  # nothing is recorded yet


def test_a_place_that_does_not_exist_is_told(storage: Location) -> None:
    with pytest.raises(StorageError, match=r"no such (file or )?folder"):
        list_runs((storage / "nowhere").uri)
    assert list_runs((storage / "data").uri) == []


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("run.json", "{", "run.json is not valid JSON"),
        ("run.json", '{"status": "finished"}', "run.json is not the record of a run"),
        ("history.jsonl", '{"epoch": 1}\n{"epo', "history.jsonl is not valid JSON"),
        ("best/metrics.json", "[]", "best/metrics.json is not the metrics of a bundle"),
    ],
)
def test_a_damaged_run_is_told_and_closes_no_other(storage: Location, file: str, text: str, told: str) -> None:
    whole = names(list_runs(storage.uri))
    (storage / "best" / file).write_text(text)
    lines: list[str] = []
    assert names(list_runs(storage.uri, lines.append)) == [name for name in whole if name != "best"]
    assert lines == [f"left out: {storage / 'best'}/{told}"]
    for place, tell in ((storage, None), (storage / "best", lines.append)):
        with pytest.raises(DataError, match=told):
            list_runs(place.uri, tell)
