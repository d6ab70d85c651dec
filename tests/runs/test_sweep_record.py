"""The record of a sweep: claimed once, resumed only with the same space, and by one process at a time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.errors import DataError, TrainingError
from raycxr.runs.record import start_record
from raycxr.runs.sweep import SWEEP, read_sweep
from raycxr.runs.sweep_record import note_sweep, resume_sweep, start_sweep
from raycxr.storage.location import Location

DATASET = {"uri": "/data", "id": "abc", "classes": ["lungs"], "splits": {"train": 3}}
TEXT = """
tune:
  space: {model.name: [unet, fpn], optimizer.lr: {loguniform: [1e-4, 1e-2]}, loss: [{dice: 1}]}
  trials: 5
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Location:
    return Location(tmp_path / "runs" / "first")


def config(tmp_path: Path, *overrides: str) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text(TEXT)
    return load_config(path, overrides)


def test_what_is_recorded(sweep: Location, tmp_path: Path) -> None:
    given = config(tmp_path)
    start_sweep(sweep, given, DATASET, "dice.mean", "max")
    record = read_sweep(sweep)
    assert (record["sweep"], record["status"], record["metric"], record["mode"]) == (
        "first", "running", "dice.mean", "max",
    )  # fmt: skip
    assert record["space"] == {
        "model.name": {"choice": ["unet", "fpn"]},
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
        "loss": {"choice": [{"dice": 1}]},
    }
    assert Config.model_validate(record["config"]) == given
    note_sweep(sweep, 12.34, "interrupted", "tune.hours = 1 was spent")
    noted = read_sweep(sweep)
    assert (noted["seconds"], noted["status"], noted["reason"]) == (12.3, "interrupted", "tune.hours = 1 was spent")
    assert noted["config"] == record["config"]


def test_a_name_is_taken_once(sweep: Location, tmp_path: Path) -> None:
    start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
    with pytest.raises(TrainingError, match=r"sweep .*first exists - choose another train.name, or continue it with"):
        start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
    run = sweep.parent / "run"
    start_record(run, Config(), DATASET, 1)
    with pytest.raises(TrainingError, match=r"run .*run exists - choose another train.name$"):
        start_sweep(run, config(tmp_path), DATASET, "dice.mean", "max")
    assert not (run / SWEEP).exists()


@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["tune.space={model.name: [unet, fpn], loss: [{dice: 1}]}"], "tune.space.optimizer.lr"),
        (["tune.space.optimizer.lr={loguniform: [1e-4, 1e-1]}"], "tune.space.optimizer.lr.loguniform"),
        (["tune.space.model.name=[unet, pan]", "train.epochs=9"], "train.epochs, tune.space.model.name.choice"),
        (["tune.seeds=2", "tune.searcher=tpe"], "tune.searcher, tune.seeds"),
        (["tune.metric=loss", "train.seed=1"], "train.seed, tune.metric"),
    ],
)  # fmt: skip
def test_another_space_is_not_resumed(sweep: Location, tmp_path: Path, overrides: list[str], keys: str) -> None:
    start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
    before = (sweep / SWEEP).read_text()
    with pytest.raises(TrainingError) as caught:
        resume_sweep(sweep, config(tmp_path, *overrides), DATASET, print)
    assert caught.value.message == f"sweep first was started with other settings: {keys}"
    assert (sweep / SWEEP).read_text() == before


def test_budget_and_place_may_change(sweep: Location, tmp_path: Path) -> None:
    start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
    note_sweep(sweep, 60.0, "failed", "no node left")
    further = config(
        tmp_path, "tune.trials=9", "tune.hours=2", "tune.at_once=3", "tune.keep=all", "resources.workers=2",
        "train.name=first", "storage.uri=/elsewhere",
    )  # fmt: skip
    record = resume_sweep(sweep, further, DATASET, print)
    assert (record["seconds"], record["status"]) == (60.0, "running")
    assert read_sweep(sweep) == record | {"updated": read_sweep(sweep)["updated"]}
    assert "reason" not in record
    assert (record["config"]["tune"]["trials"], record["config"]["tune"]["hours"]) == (9, 2)


def test_there_is_nothing_to_resume(sweep: Location, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="first is no sweep"):
        resume_sweep(sweep, config(tmp_path), DATASET, print)


@pytest.fixture
def other_driver() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like one that runs a sweep."""
    with subprocess.Popen([sys.executable, "-c", "input()  # raycxr tune", "raycxr"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_sweep_is_run_by_one_process_at_a_time(
    sweep: Location, tmp_path: Path, other_driver: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: other_driver.pid)
        start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
    with pytest.raises(TrainingError, match=f"being run by process {other_driver.pid} of this machine - wait for it"):
        resume_sweep(sweep, config(tmp_path), DATASET, print)
    note_sweep(sweep, 1.0, "interrupted")
    resume_sweep(sweep, config(tmp_path), DATASET, print)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: other_driver.pid)
        resume_sweep(sweep, config(tmp_path), DATASET, print)
    other_driver.kill()
    other_driver.wait()
    assert resume_sweep(sweep, config(tmp_path), DATASET, print)["driver"]["process"] == os.getpid()


def test_another_machine_waits_until_a_sweep_is_silent(
    sweep: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("raycxr.runs.sweep_record.SILENT_SECONDS", 2.5)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "another")
        start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
        later = threading.Timer(1.1, note_sweep, (sweep, 1.0))
        later.start()
    with pytest.raises(TrainingError, match="sweep first is being run on another - wait for it"):
        resume_sweep(sweep, config(tmp_path), DATASET, told.append)
    later.join()
    assert len(told) == 1
    assert "sweep first was being run on another at" in told[0]
    # Nothing more was heard of it.
    assert resume_sweep(sweep, config(tmp_path), DATASET, told.append)["driver"]["host"] == socket.gethostname()
    # One that has ended is taken up at once.
    note_sweep(sweep, 1.0, "interrupted")
    told.clear()
    resume_sweep(sweep, config(tmp_path), DATASET, told.append)
    assert told == []


def test_other_films_are_not_compared(sweep: Location, tmp_path: Path) -> None:
    start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
    with pytest.raises(TrainingError, match=r"begun on the data set .*, and /other holds def"):
        resume_sweep(sweep, config(tmp_path), {**DATASET, "uri": "/other", "id": "def"}, print)
    resume_sweep(sweep, config(tmp_path), {**DATASET, "uri": "/other"}, print)


def test_of_two_that_begin_at_once_one_is_refused(
    sweep: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one looked before this one's word stood there, and writes its own after it."""

    def meanwhile(seconds: float) -> None:
        record = json.loads((sweep / SWEEP).read_text())
        (sweep / SWEEP).write_text(json.dumps(record | {"driver": {"host": "another", "process": 1}}))

    # Of that module alone: other threads sleep as well.
    monkeypatch.setattr("raycxr.runs.sweep_record.time", SimpleNamespace(sleep=meanwhile))
    with pytest.raises(TrainingError, match=r"begun at the same moment on another - choose another train\.name"):
        start_sweep(sweep, config(tmp_path), DATASET, "dice.mean", "max")
    assert read_sweep(sweep)["driver"]["host"] == "another"
