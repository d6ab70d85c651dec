"""Fixtures that several rooms share: a true S3 server and its buckets, and a small data set of phantoms."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server

from raycxr.config.load import check_config, load_config, to_yaml
from raycxr.dataset.ingest import ingest, run_here
from raycxr.runs.bundle import write_bundle
from raycxr.runs.record import BEST, RECORD, read_record, start_record, write_history
from raycxr.sources.patient_key import KEY_VARIABLE
from raycxr.sources.synth import write_jsrt
from raycxr.storage.location import Location

_CREDENTIALS_ELSEWHERE = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server for the whole session, to which the ``AWS_*`` variables point; for tests marked slow."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name in _CREDENTIALS_ELSEWHERE:
            patch.delenv(name, raising=False)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


@pytest.fixture(scope="session")
def s3(s3_server: S3Server) -> str:
    """URI of a bucket of this session: ``s3://test-...``."""
    bucket = f"test-{secrets.token_hex(6)}"
    s3_server.create_bucket(bucket)
    return f"s3://{bucket}"


@pytest.fixture
def s3_folder(s3: str) -> str:
    """URI of an empty folder in the session's bucket."""
    return f"{s3}/{secrets.token_hex(6)}"


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the shard cache and the key of patients of the tests away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYCXR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(KEY_VARIABLE, secrets.token_hex(16))
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        yield


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 24 phantom films of 64 pixels in the JSRT layout; tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("phantoms") / "jsrt"
    write_jsrt(Location(folder), 24, 64, 0, lambda done, total: None)
    return folder


@pytest.fixture(scope="session")
def phantom_config(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration over the phantoms: three merged structures at 32 pixels and a very small network, ingested."""
    folder = tmp_path_factory.mktemp("road")
    path = folder / "tiny.yaml"
    path.write_text(
        f"""
ingest:
  source: jsrt
  images: {phantoms}
  masks: {phantoms / "scr"}
  classes: {{lungs: [left lung, right lung], heart: [heart], clavicles: [left clavicle, right clavicle]}}
  size: 32
  out: {folder / "data"}
dataset: {{split: {{rule: fraction, train: 16, validation: 4, test: 4}}}}
model: {{name: inverted_net, channels: [8, 4], dropout: 0.1}}
optimizer: {{lr: 0.01}}
train: {{epochs: 2, batch_size: 8, precision: fp32, loader_workers: 0}}
tracking: {{tensorboard: false}}
storage: {{uri: {folder / "runs"}}}
"""
    )
    ingest(load_config(path), run_here, lambda done, total: None)
    return path


MakeRun = Callable[..., Location]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Write a run as it lies in storage, without training: `make_run(parent, name, dice)`."""
    return write_run


def write_run(
    parent: Location,
    name: str,
    dice: float | None = None,
    loss: float = 1.0,
    config: dict[str, Any] | None = None,
    status: str | None = None,
    trial: dict[str, Any] | None = None,
    weights: bool | bytes = True,
) -> Location:
    """One epoch with a Dice coefficient and a loss, or none; with its bundle, or as a sweep leaves its losers."""
    run, settings = parent / name, check_config(config or {}, name)
    dataset = {"uri": "/data", "id": "abc", "classes": ["lungs"], "splits": {"train": 3}}
    start_record(run, settings, dataset, 1)
    ended = status or ("running" if dice is None else "finished")
    further = {} if trial is None else {"trial": trial}
    (run / RECORD).write_text(json.dumps({**read_record(run), "status": ended, **further}))
    if dice is None:
        return run
    metrics = {"loss": loss, "dice": {"lungs": dice, "mean": dice}}
    write_history(run, [{"epoch": 1, "time": "2026-01-01T00:00:00+00:00", "validation": metrics, "best": True}])
    if weights:
        rules = {
            "classes": ["lungs"],
            "size": 32,
            "intensity": {"rule": "keep"},
            "rules": {"lungs": {"threshold": 0.5}},
        }
        recorded = {"epoch": 1, "split": "validation", "metrics": metrics}
        content = weights if isinstance(weights, bytes) else b"weights of " + name.encode()
        write_bundle(run / BEST, content, to_yaml(settings), recorded, rules, "a card")
    return run
