"""A run on an MLflow server: all of it, each epoch once, whatever the server does meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mlflow_server import MlflowServer, TrackedRun

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.errors import InterruptionError, TrainingError
from raycxr.prediction.checkpoint import list_checkpoints
from raycxr.runs.record import BEST, read_history, read_record
from raycxr.storage.location import Location
from raycxr.training.loop import train_epochs
from raycxr.training.mlflow_run import LONGEST_VALUE, NOTE
from raycxr.training.progress import SilentProgress
from raycxr.training.run import RunResult, claim_run, train, train_here
from raycxr.training.session import LocalSession

EPOCHS = 3


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with MlflowServer() as running:
        yield running
        assert running.unknown == []


class Teller(SilentProgress):
    """Keeps the lines that a run tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)


def settings(path: Path, folder: Path, server: MlflowServer, *overrides: str) -> Config:
    tracking = [f"tracking.mlflow={server.url}", "tracking.overlays=2"]
    return load_config(path, [f"storage.uri={folder}", f"train.epochs={EPOCHS}", *tracking, *overrides])


def run_here(config: Config, path: Path, lines: list[str], resume: str | None = None) -> RunResult:
    return train(config, path, resume, train_here, lines.append)


def epochs_of(config: Config, run: Location, progress: Teller, resume: bool = False) -> Any:
    claim_run(config, run, 1, True, False, resume)
    return train_epochs(config, run, LocalSession(run, 3, "max", resume, progress), 1)


def assert_complete(tracked: TrackedRun, run: Location) -> None:
    """What was learned in every epoch is there once, and the bundle."""
    history = read_history(run)
    for name in ("validation/loss", "train/loss", "lr", "validation/dice/mean"):
        expected = []
        for entry in history:
            value: Any = entry
            for key in name.split("/"):
                value = value[key]
            expected.append((entry["epoch"], value))
        assert sorted(tracked.values(name)) == expected
    for name, data in {path.name: path.read_bytes() for path in (run / BEST).walk()}.items():
        assert tracked.artifacts[f"best/{name}"] == data


def test_all_of_a_run_is_there(
    phantom_config: Path, tmp_path: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "reader")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush")
    thresholds = [round(step / 400, 4) for step in range(1, 400)]
    long = f"postprocess.grid.threshold={thresholds}"
    lines: list[str] = []
    config = settings(phantom_config, tmp_path, server, "train.name=whole", "tracking.experiment=chest films", long)
    run = Location(run_here(config, phantom_config, lines).run)
    tracked, record = server.only_run, read_record(run)
    assert (tracked.name, tracked.status, server.experiments) == ("whole", "FINISHED", ["chest films"])
    assert_complete(tracked, run)
    assert tracked.parameters["model.name"] == "inverted_net"
    assert tracked.parameters["model.channels"] == "[8, 4]"
    assert "null" not in tracked.parameters.values()
    assert len(tracked.parameters["postprocess.grid.threshold"]) == LONGEST_VALUE
    assert tracked.tags["dataset.id"] == record["dataset"]["id"]
    assert tracked.tags["version.torch"] == record["versions"]["torch"]
    assert (tracked.tags["run"], tracked.tags["world_size"], tracked.tags["status"]) == (run.uri, "1", "finished")
    best = [f"overlays/epoch_{entry['epoch']:04d}.png" for entry in read_history(run) if entry["best"]]
    assert [name for name in tracked.artifacts if name.startswith("overlays/")] == best
    assert cv2.imdecode(np.frombuffer(tracked.artifacts[best[0]], np.uint8), cv2.IMREAD_COLOR) is not None
    assert json.loads((run / NOTE).read_text())["run_id"] == tracked.id
    # Names and passwords come from the environment alone.
    assert server.authorizations == {"Basic cmVhZGVyOmh1c2g="}
    assert len(lines) == 1
    written = b"".join(place.read_bytes() for place in run.walk())
    assert b"hush" not in written


@pytest.mark.parametrize("answers", ["no", "busy"])
def test_a_server_that_is_away_is_told_of_once_and_gets_all_later(
    phantom_config: Path, tmp_path: Path, server: MlflowServer, answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = answers
    lines: list[str] = []
    config = settings(phantom_config, tmp_path, server, "train.name=away")
    run = Location(run_here(config, phantom_config, lines).run)
    assert read_record(run)["status"] == "finished"
    told = capsys.readouterr()
    assert told.err.count("MLflow") == 1
    assert "training goes on" in told.err
    assert [line for line in lines if "MLflow" in line] == lines[1:]
    [end] = lines[1:]
    assert "has not got all of run away" in end
    assert told.out == ""
    assert server.runs == {}

    server.answers = "yes"
    run_here(config, phantom_config, lines, resume="away")
    assert server.only_run.status == "FINISHED"
    assert_complete(server.only_run, run)
    assert any(name.startswith("overlays/") for name in server.only_run.artifacts)


def test_a_server_that_comes_back_gets_what_it_has_missed(
    phantom_config: Path, tmp_path: Path, server: MlflowServer
) -> None:
    progress, run = Teller(), Location(tmp_path / "back")
    epochs = epochs_of(settings(phantom_config, tmp_path, server), run, progress)
    server.answers = "no"
    next(epochs)
    deadline = time.monotonic() + 60
    while not progress.lines and time.monotonic() < deadline:
        time.sleep(0.01)
    server.answers = "yes"
    next(epochs)
    epochs.close()
    assert [step for step, _ in server.only_run.values("validation/loss")] == [1, 2]
    assert len(progress.lines) == 1


def test_a_resumed_run_goes_on_in_the_same_place_and_writes_no_step_twice(
    phantom_config: Path, tmp_path: Path, server: MlflowServer
) -> None:
    run = Location(tmp_path / "killed")
    config = settings(phantom_config, tmp_path, server)
    epochs = epochs_of(config, run, Teller())
    next(epochs)
    next(epochs)
    epochs.close()
    # As where a run is killed before the checkpoint of its last epoch: that is trained again.
    list_checkpoints(run)[-1].delete_tree()
    run_here(config, phantom_config, [], resume=str(run))
    assert server.only_run.status == "FINISHED"
    assert_complete(server.only_run, run)
    # A finished run that is resumed leaves it as it is.
    before = list(server.only_run.metrics)
    run_here(config, phantom_config, [], resume=str(run))
    assert server.only_run.metrics == before
    assert server.only_run.status == "FINISHED"


def test_settings_that_change_on_the_way_do_not_keep_it_from_going_on(
    phantom_config: Path, tmp_path: Path, server: MlflowServer
) -> None:
    run = Location(tmp_path / "moved")
    epochs = epochs_of(settings(phantom_config, tmp_path, server), run, Teller())
    next(epochs)
    epochs.close()
    lines: list[str] = []
    run_here(settings(phantom_config, tmp_path, server, "train.num_to_keep=2"), phantom_config, lines, str(run))
    assert len(lines) == 1
    assert_complete(server.only_run, run)
    # A run that was deleted there, or another experiment, begins anew with all epochs.
    server.runs.clear()
    run_here(settings(phantom_config, tmp_path, server, "tracking.experiment=other"), phantom_config, lines, str(run))
    assert_complete(server.only_run, run)


def test_how_a_run_ended(phantom_config: Path, tmp_path: Path, server: MlflowServer) -> None:
    def interrupted(config: Config, run: Location, resume: bool) -> None:
        raise KeyboardInterrupt

    config = settings(phantom_config, tmp_path, server, "train.name=stopped")
    with pytest.raises(InterruptionError):
        train(config, phantom_config, None, interrupted, print)
    assert (server.only_run.status, server.only_run.tags["status"]) == ("KILLED", "interrupted")
    server.runs.clear()
    wild = settings(phantom_config, tmp_path, server, "train.name=wild", "optimizer={name: sgd, lr: 1.0e+30}")
    with pytest.raises(TrainingError):
        run_here(wild, phantom_config, [])
    assert server.only_run.status == "FAILED"
    assert "the loss became" in server.only_run.tags["reason"]
    assert server.only_run.artifacts == {}


def test_a_server_that_hangs_does_not_hold_a_run_up(
    phantom_config: Path, tmp_path: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    server.answers = "never"
    progress, run = Teller(), Location(tmp_path / "hanging")
    epochs = epochs_of(settings(phantom_config, tmp_path, server), run, progress)
    assert [entry["epoch"] for entry in epochs] == [1, 2, 3]
    assert len(read_history(run)) == 3
    assert len(progress.lines) == 1
    assert "training goes on" in progress.lines[0]


def test_bits_are_the_same_with_and_without(phantom_config: Path, tmp_path: Path, server: MlflowServer) -> None:
    tracked = settings(phantom_config, tmp_path, server, "train.name=tracked", "tracking.tensorboard=true")
    plain = load_config(phantom_config, [f"storage.uri={tmp_path}", f"train.epochs={EPOCHS}", "train.name=plain"])
    weights = [
        hashlib.sha256((Path(run_here(config, phantom_config, []).bundle) / "model.safetensors").read_bytes())
        for config in (tracked, plain)
    ]
    assert weights[0].digest() == weights[1].digest()


def test_nothing_calls_home_and_nothing_is_imported_unasked(server: MlflowServer) -> None:
    """In a process that MLflow does not take for a test, in which it would be silent anyway."""
    program = f"""
import sys
import raycxr.training.loop, raycxr.training.run
assert "mlflow" not in sys.modules
from raycxr.training.mlflow_run import _connect
client = _connect({server.url!r})
assert client.get_experiment_by_name("none") is None
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
"""
    signs = ("CI", "PYTEST", "GITHUB", "MLFLOW", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(signs)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
