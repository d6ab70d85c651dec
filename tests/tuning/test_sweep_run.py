"""Sweeps on a true Ray cluster on this machine: searched, stopped early, interrupted, failed, with several workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import MlflowServer
from s3_server import S3Server

from raycxr.runs.record import BEST, RECORD, read_record
from raycxr.runs.sweep import read_sweep, read_trials
from raycxr.storage.location import Location

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RAYCXR = str(Path(sys.executable).parent / "raycxr")
RATES = "tune.space={optimizer.lr: [0.01, 0.003, 0.001, 0.0003]}"


def command(config: Path, storage: str, name: str, *overrides: str) -> list[str]:
    return [RAYCXR, "tune", str(config), f"storage.uri={storage}", f"train.name={name}", *overrides]


def tune(config: Path, storage: str, name: str, *overrides: str, status: int = 0) -> tuple[Any, str]:
    """Document and log of a sweep."""
    done = subprocess.run(
        [*command(config, storage, name, *overrides), "--json"], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout), done.stderr


def begin(log: Path, arguments: list[str], **environment: str) -> subprocess.Popen[bytes]:
    """Start a sweep in a process group of its own."""
    with log.open("w") as file:
        return subprocess.Popen(
            arguments, stdout=file, stderr=file, start_new_session=True, env={**os.environ, **environment}
        )


def wait_for(process: subprocess.Popen[bytes], log: Path, come: Callable[[], bool]) -> None:
    """Wait until a sweep that runs has come so far."""
    until = time.monotonic() + 240
    while not come():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def epochs(trial: Path | Location) -> int:
    """Epochs of a trial that are in storage."""
    history = Location(str(trial)) / "history.jsonl"
    return history.read_text().count("\n") if history.exists() else 0


def test_a_grid_with_early_stopping(phantom_config: Path, tmp_path: Path) -> None:
    space = "tune.space={optimizer.lr: [0.01, 0.003, 0.0000001], loss: [{bce: 1}, {dice: 1}]}"
    document, log = tune(
        phantom_config, str(tmp_path), "grid", space, "tune.searcher=grid", "train.epochs=4", "tune.grace_epochs=1",
        "tune.reduction=2",
    )  # fmt: skip
    trials = document["trials"]
    assert [trial["parameters"] for trial in trials] == [
        {"optimizer.lr": rate, "loss": loss} for rate in (0.01, 0.003, 1e-7) for loss in ({"bce": 1}, {"dice": 1})
    ]
    states = {trial["status"] for trial in trials}
    assert states == {"finished", "stopped"}
    assert all(trial["epochs"] == 4 for trial in trials if trial["status"] == "finished")
    assert all(trial["epochs"] < 4 for trial in trials if trial["status"] == "stopped")
    values = {trial["run"]: trial["metrics"]["dice"]["mean"] for trial in trials}
    best = document["best"]
    assert values[best["run"]] == max(values.values())
    # Losers keep their history, and only the winner its weights.
    kept = [trial["run"] for trial in trials if (Path(trial["run"]) / BEST).exists()]
    assert kept == [best["run"]]
    assert all((Path(trial["run"]) / "history.jsonl").exists() for trial in trials)
    assert not any(list(Path(trial["run"]).glob("checkpoint_*")) for trial in trials if trial["run"] not in kept)
    record = read_sweep(Location(document["sweep"]))
    assert record["status"] == "finished"
    assert "Traceback" not in log
    pulled = subprocess.run(
        [RAYCXR, "pull", document["sweep"], str(tmp_path / "bundle"), "--json"], capture_output=True, text=True
    )
    assert json.loads(pulled.stdout)["run"] == best["run"]


def test_a_trial_is_an_ordinary_run(phantom_config: Path, tmp_path: Path) -> None:
    space, nobody = "tune.space={optimizer.lr: [0.01]}", "tracking.mlflow=http://127.0.0.1:9"
    document, log = tune(phantom_config, str(tmp_path), "one", space, "tune.trials=1", nobody)
    [trial] = document["trials"]
    assert log.count("MLflow at http://127.0.0.1:9 has not got all of run") == 1
    alone = subprocess.run(
        [RAYCXR, "train", str(phantom_config), f"storage.uri={tmp_path}", "train.name=alone", "--local", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(alone.stdout)["metrics"] == trial["metrics"]
    first, second = (Path(run, BEST, "model.safetensors").read_bytes() for run in (trial["run"], tmp_path / "alone"))
    assert first == second


def test_killed_and_resumed(phantom_config: Path, tmp_path: Path) -> None:
    """By SIGKILL in the second trial: nothing is trained twice, nothing is lost, and the result is the same."""
    overrides = (RATES, "tune.searcher=grid", "train.epochs=6", "tune.grace_epochs=2", "tune.reduction=2")
    whole, _ = tune(phantom_config, str(tmp_path), "whole", *overrides)
    process = begin(tmp_path / "log", command(phantom_config, str(tmp_path), "cut", *overrides))
    wait_for(process, tmp_path / "log", lambda: epochs(tmp_path / "cut" / "trial_001") >= 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert read_sweep(Location(tmp_path / "cut"))["status"] == "running"
    # Another space is refused, and so is the same name anew.
    error, _ = tune(phantom_config, str(tmp_path), "cut", "tune.space={optimizer.lr: [0.5]}", "--resume", status=1)
    assert "tune.space" in error["error"]["message"]
    error, _ = tune(phantom_config, str(tmp_path), "cut", *overrides, status=1)
    assert "exists" in error["error"]["message"]
    cut, _ = tune(phantom_config, str(tmp_path), "cut", *overrides, "--resume")
    brief = [[(trial["status"], trial["parameters"], trial["epochs"], trial["metrics"]) for trial in document["trials"]]
             for document in (whole, cut)]  # fmt: skip
    assert brief[0] == brief[1]
    for trial in read_trials(Location(tmp_path / "cut")):
        assert [entry["epoch"] for entry in trial.history] == list(range(1, len(trial.history) + 1))


def test_a_trial_that_fails_does_not_end_the_sweep(phantom_config: Path, tmp_path: Path) -> None:
    document, log = tune(
        phantom_config, str(tmp_path), "failing", "tune.space={optimizer.lr: [1.0e+30, 0.01]}", "tune.searcher=grid",
        "tune.scheduler=none",
    )  # fmt: skip
    failed, finished = document["trials"]
    assert (failed["status"], finished["status"]) == ("failed", "finished")
    assert "loss" in failed["reason"]
    assert failed["reason"] in log
    assert document["best"]["run"] == finished["run"]
    assert read_sweep(Location(document["sweep"]))["status"] == "finished"


def test_a_sweep_without_a_winner_has_failed(phantom_config: Path, tmp_path: Path) -> None:
    space = "tune.space={optimizer.lr: [1.0e+30, 1.0e+29]}"
    error, log = tune(phantom_config, str(tmp_path), "lost", space, "tune.searcher=grid", status=1)
    assert "sweep lost has no candidate with a value: 2 of 2 trials failed, the first:" in error["error"]["message"]
    assert [trial.status for trial in read_trials(Location(tmp_path / "lost"))] == ["failed", "failed"]
    assert "Traceback" not in log


def test_a_lost_process_is_replaced(phantom_config: Path, tmp_path: Path) -> None:
    """The process of a trial is killed: the trial goes on from its checkpoint."""
    overrides = ("tune.space={optimizer.lr: [0.01]}", "train.epochs=30", "tune.scheduler=none", "tune.trials=1")
    process = begin(tmp_path / "log", command(phantom_config, str(tmp_path), "lost", *overrides))
    wait_for(process, tmp_path / "log", lambda: epochs(tmp_path / "lost" / "trial_000") >= 2)
    # Ray names a process after what it does, and while that is nothing after its class.
    processes = "ray::(ResourceTrainable|TrialActor)"
    subprocess.run(["pkill", "-9", "-P", str(raylet_of(process.pid)), "-f", processes], check=True)
    assert process.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    [trial] = read_trials(Location(tmp_path / "lost"))
    assert trial.status == "finished"
    assert [entry["epoch"] for entry in trial.history] == list(range(1, 31))


def raylet_of(driver: int) -> int:
    """Process that starts the workers of a driver's own cluster."""
    listed = subprocess.run(["pgrep", "-P", str(driver), "-f", "raylet/raylet"], capture_output=True, text=True)
    return int(listed.stdout.split()[0])


def test_two_workers_are_kept_from_trial_to_trial(phantom_config: Path, tmp_path: Path) -> None:
    overrides = ("tune.searcher=grid", "train.epochs=3", "tune.grace_epochs=1", "tune.reduction=2",
                 "resources.workers=2", "resources.cpus_per_worker=1")  # fmt: skip
    with MlflowServer() as server:
        space = "tune.space={optimizer.lr: [0.01, 1.0e+30, 1.0e-9]}"
        tracking = f"tracking.mlflow={server.url}"
        document, _ = tune(phantom_config, str(tmp_path), "two", space, tracking, *overrides)
    assert [trial["status"] for trial in document["trials"]] == ["finished", "failed", "stopped"]
    assert read_record(Location(document["trials"][0]["run"]))["world_size"] == 2
    assert document["best"]["run"].endswith("trial_000")
    # Each trial is a run of its own on the server.
    tracked = {run.tags["run"]: run for run in server.runs.values()}
    assert len(tracked) == len(server.runs) == 3
    for number, (trial, status) in enumerate(zip(document["trials"], ("FINISHED", "FAILED", "KILLED"), strict=True)):
        run = tracked[trial["run"]]
        assert (run.status, run.name) == (status, f"two/{Path(trial['run']).name}")
        assert (run.tags["sweep"], run.tags["candidate"], run.tags["world_size"]) == ("two", str(number), "2")
        assert [step for step, _ in run.values("validation/loss")] == list(range(1, epochs(trial["run"]) + 1))
        assert ("best/bundle.json" in run.artifacts) == (status == "FINISHED")


def test_folds(phantom_config: Path, tmp_path: Path) -> None:
    document, _ = tune(
        phantom_config, str(tmp_path), "folds", "tune.space={optimizer.lr: [0.01, 0.001]}", "tune.folds=2",
        "tune.searcher=tpe", "tune.trials=2", "tune.scheduler=none",
    )  # fmt: skip
    assert len(document["trials"]) == 4
    validated = [set(_films(trial["run"], "validation")) for trial in document["trials"][:2]]
    assert validated[0].isdisjoint(validated[1])
    tested = [set(_films(trial["run"], "test")) for trial in document["trials"]]
    assert all(films == tested[0] for films in tested)


def _films(run: str, split: str) -> list[str]:
    from raycxr.config.load import check_config
    from raycxr.dataset.films import open_splits

    config = check_config(read_record(Location(run))["config"], run)
    return [row["id"] for row in open_splits(config).rows[split]]


def test_population_based_training_exchanges_weights(phantom_config: Path, tmp_path: Path) -> None:
    document, _ = tune(
        phantom_config, str(tmp_path), "population", "tune.space={optimizer.lr: {loguniform: [1.0e-9, 0.02]}}",
        "tune.points=[{optimizer.lr: 0.01}, {optimizer.lr: 1.0e-9}]", "tune.trials=2", "tune.scheduler=pbt",
        "tune.grace_epochs=2", "train.epochs=8",
    )  # fmt: skip
    assert [trial["status"] for trial in document["trials"]] == ["finished", "finished"]
    assert [trial["epochs"] for trial in document["trials"]] == [8, 8]
    second = json.loads(Path(document["trials"][1]["run"], RECORD).read_text())
    assert second["exchanges"][0]["from"] == "trial_000"
    assert second["config"]["optimizer"]["lr"] == pytest.approx(document["trials"][1]["parameters"]["optimizer.lr"])
    assert second["config"]["optimizer"]["lr"] > 1e-8


def test_a_spent_budget_ends_the_sweep_and_more_of_it_goes_on(phantom_config: Path, tmp_path: Path) -> None:
    overrides = (RATES, "tune.searcher=grid", "tune.scheduler=none", "train.epochs=4")
    # Before any candidate has a value there is no winner, and that is no success.
    error, _ = tune(phantom_config, str(tmp_path), "budget", *overrides, "tune.hours=1e-9", status=1)
    assert "no candidate with a value: tune.hours = 1e-09 was spent" in error["error"]["message"]
    sweep = Location(tmp_path / "budget")
    assert read_sweep(sweep)["reason"] == "tune.hours = 1e-09 was spent"
    assert len(read_trials(sweep)) < 4
    document, _ = tune(phantom_config, str(tmp_path), "budget", *overrides, "tune.hours=1", "--resume")
    assert [trial["status"] for trial in document["trials"]] == ["finished"] * 4
    assert document["status"] == "finished"


def test_ctrl_c(phantom_config: Path, tmp_path: Path) -> None:
    overrides = ("tune.space={optimizer.lr: [0.01]}", "train.epochs=200", "tune.scheduler=none", "tune.trials=1")
    process = begin(tmp_path / "log", command(phantom_config, str(tmp_path), "long", *overrides))
    wait_for(process, tmp_path / "log", lambda: epochs(tmp_path / "long" / "trial_000") >= 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    told = (tmp_path / "log").read_text()
    assert "sweep long was interrupted" in told
    assert "--resume" in told
    assert "Traceback" not in told
    assert read_sweep(Location(tmp_path / "long"))["status"] == "interrupted"
    assert read_record(Location(tmp_path / "long" / "trial_000"))["status"] == "interrupted"


def test_an_earlier_sweep_is_learned_from(phantom_config: Path, tmp_path: Path) -> None:
    first, _ = tune(phantom_config, str(tmp_path), "first", RATES, "tune.searcher=grid", "tune.scheduler=none")
    second, _ = tune(
        phantom_config, str(tmp_path), "second", RATES, "tune.searcher=tpe", "tune.trials=1",
        f"tune.start_from={first['sweep']}",
    )  # fmt: skip
    assert second["trials"][0]["parameters"] == first["best"]["parameters"]


def test_a_lost_node(phantom_config: Path, tmp_path: Path) -> None:
    """Of two nodes with a trial each one dies: its trial goes on upon the other, and nothing is lost."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        overrides = ("tune.space={optimizer.lr: [0.01, 0.003]}", "tune.searcher=grid", "tune.scheduler=none",
                     "train.epochs=60", "resources.cpus_per_worker=1")  # fmt: skip
        process = begin(
            tmp_path / "log", command(phantom_config, str(tmp_path), "node", *overrides), RAY_ADDRESS=cluster.address
        )
        trials = [tmp_path / "node" / f"trial_{number:03d}" for number in range(2)]
        wait_for(process, tmp_path / "log", lambda: all(epochs(trial) >= 2 for trial in trials))
        cluster.remove_node(second, allow_graceful=False)
        assert process.wait(timeout=400) == 0, (tmp_path / "log").read_text()
    finally:
        cluster.shutdown()
    for trial in read_trials(Location(tmp_path / "node")):
        assert trial.status == "finished"
        assert [entry["epoch"] for entry in trial.history] == list(range(1, 61))
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_cluster_that_shrinks_to_nothing(phantom_config: Path, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        only = cluster.add_node(num_cpus=1)
        overrides = ("tune.space={optimizer.lr: [0.01]}", "tune.trials=1", "train.epochs=300", "tune.scheduler=none",
                     "resources.cpus_per_worker=1", "tune.wait_minutes=0.2")  # fmt: skip
        arguments = command(phantom_config, str(tmp_path), "shrunk", *overrides)
        process = begin(tmp_path / "log", arguments, RAY_ADDRESS=cluster.address)
        wait_for(process, tmp_path / "log", lambda: epochs(tmp_path / "shrunk" / "trial_000") >= 2)
        cluster.remove_node(only, allow_graceful=False)
        assert process.wait(timeout=300) == 1
    finally:
        cluster.shutdown()
    told = (tmp_path / "log").read_text()
    assert "waiting up to 0.2 min for nodes" in told
    assert "add nodes, and continue with --resume" in told
    assert "Traceback" not in told
    assert read_sweep(Location(tmp_path / "shrunk"))["status"] == "interrupted"
    assert read_record(Location(tmp_path / "shrunk" / "trial_000"))["status"] == "interrupted"


def test_more_than_the_cluster_has(phantom_config: Path, tmp_path: Path) -> None:
    error, _ = tune(phantom_config, str(tmp_path), "large", RATES, "resources.gpus_per_worker=2", status=1)
    assert "2 GPUs" in error["error"]["message"]
    assert "0 GPUs" in error["error"]["message"]
    assert not (tmp_path / "large").exists()


def test_a_sweep_in_a_bucket(phantom_config: Path, s3_folder: str, tmp_path: Path) -> None:
    document, _ = tune(phantom_config, s3_folder, "sweep", RATES, "tune.trials=3")
    assert len(document["trials"]) == 3
    done = subprocess.run(
        [RAYCXR, "pull", document["sweep"], str(tmp_path / "bundle"), "--json"], capture_output=True, text=True
    )
    assert json.loads(done.stdout)["run"] == document["best"]["run"]
    assert (tmp_path / "bundle" / "model.safetensors").exists()


def test_a_bucket_that_is_away_for_a_while(
    phantom_config: Path, s3_server: S3Server, s3_folder: str, tmp_path: Path
) -> None:
    overrides = ("tune.space={optimizer.lr: [0.01, 0.003]}", "tune.searcher=grid", "tune.scheduler=none",
                 "train.epochs=12")  # fmt: skip
    process = begin(tmp_path / "log", command(phantom_config, s3_folder, "outage", *overrides))
    sweep = Location(s3_folder) / "outage"
    wait_for(process, tmp_path / "log", lambda: epochs(sweep / "trial_000") >= 1)
    s3_server.stop("proxy")
    time.sleep(20)
    s3_server.start("proxy")
    assert process.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    assert [trial.status for trial in read_trials(sweep)] == ["finished", "finished"]
    for trial in read_trials(sweep):
        assert [entry["epoch"] for entry in trial.history] == list(range(1, 13))
    assert "Traceback" not in (tmp_path / "log").read_text()
