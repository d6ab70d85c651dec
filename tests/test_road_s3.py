"""The whole road over a true S3 server: films, shards, checkpoints and the best bundle all lie in a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import MlflowServer

from raycxr.config.load import load_config
from raycxr.storage.location import Location

pytestmark = pytest.mark.slow


def raycxr(*arguments: object) -> Any:
    command = [sys.executable, "-c", "from raycxr.cli.main import main; main()", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_from_films_to_the_best_checkpoint_in_a_bucket(s3_folder: str, phantom_config: Path, tmp_path: Path) -> None:
    synth = raycxr("synth", "jsrt", "--out", f"{s3_folder}/films", "--count", 24, "--size", 64)
    assert synth["images"] == 24
    overrides = [
        f"ingest.images={s3_folder}/films",
        f"ingest.masks={s3_folder}/films/scr",
        f"ingest.out={s3_folder}/data",
        f"storage.uri={s3_folder}/runs",
        "tracking.tensorboard=true",
    ]
    ingested = raycxr("ingest", phantom_config, *overrides)
    assert (ingested["dataset"], ingested["images"]) == (f"{s3_folder}/data", 24)
    # The phantoms of the fixture have the same seed: the same content, wherever it lies.
    local = json.loads((Location(load_config(phantom_config).dataset_uri or "") / "manifest.json").read_text())
    assert ingested["id"] == local["id"]
    with MlflowServer() as server:
        followed = [f"tracking.mlflow={server.url}", "--profile"]
        train = raycxr("train", phantom_config, *overrides, *followed, "train.name=bucket", "train.epochs=2")
    assert train["bundle"] == f"{s3_folder}/runs/bucket/best"
    assert Location(train["profile"]["trace"]).size() > 0
    assert server.only_run.artifacts["best/bundle.json"] == Location(f"{train['bundle']}/bundle.json").read_bytes()
    assert "overlays/epoch_0001.png" in server.only_run.artifacts
    resumed = raycxr("train", phantom_config, *overrides, "train.epochs=2", "--resume", "bucket", "train.name=bucket")
    assert resumed["metrics"] == train["metrics"]
    names = [file.name for file in Location(f"{s3_folder}/runs/bucket").walk()]
    assert {"run.json", "history.jsonl", "state.pt", "bundle.json"} <= set(names)
    assert any(name.startswith("events.out") for name in names)
    assert raycxr("runs", f"{s3_folder}/runs")[0]["epochs"] == 2
    pulled = raycxr("pull", f"{s3_folder}/runs", tmp_path / "best")
    assert pulled["value"] == pytest.approx(train["metrics"]["dice"]["mean"])
    evaluated = raycxr("evaluate", tmp_path / "best", f"{s3_folder}/data", "--out", f"{s3_folder}/evaluation")
    assert evaluated["results"][0]["images"] == 4
    assert (Location(s3_folder) / "evaluation" / "report.html").exists()
