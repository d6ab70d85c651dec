"""`sweep.json` while its sweep runs: claimed, reopened, closed."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import raycxr
from raycxr.config.sections import Config
from raycxr.errors import TrainingError
from raycxr.runs.metric import Mode
from raycxr.runs.record import RECORD, differences, git_revision, now
from raycxr.runs.sweep import SWEEP, is_sweep, read_sweep
from raycxr.storage.location import Location

# What may differ when a sweep is resumed: how much it may cost and where it runs, not what is compared.
RESUMABLE = ("storage", "resources", "tracking", "evaluate", "ingest", "dataset.uri", "dataset.cache", "train.name",
             "train.loader_workers", "tune.trials", "tune.hours", "tune.gpu_hours", "tune.at_once",
             "tune.wait_minutes", "tune.keep")  # fmt: skip


# How long a sweep is silent, in seconds, before another machine may take it up; it writes once a minute.
SILENT_SECONDS = 150.0
# How long after its claim a sweep sees whether another one has made it too; between looking and claiming lies less.
CLAIM_SECONDS = 1.0


def start_sweep(sweep: Location, config: Config, dataset: Mapping[str, Any], metric: str, mode: Mode) -> None:
    """Claim a sweep's folder.

    Parameters
    ----------
    dataset : mapping
        `uri` and `id` (of its content) among others.

    Raises
    ------
    TrainingError
        There is a sweep or a run of that name.
    """
    if is_sweep(sweep) or (sweep / RECORD).exists():
        kind = "sweep" if is_sweep(sweep) else "run"
        resume = ", or continue it with --resume" if kind == "sweep" else ""
        raise TrainingError(f"{kind} {sweep} exists", f"choose another train.name{resume}")
    space = {key: parameter.model_dump(mode="json", exclude_unset=True) for key, parameter in config.tune.space.items()}
    record = {
        "sweep": sweep.name,
        "status": "running",
        "created": now(),
        "updated": now(),
        "seconds": 0.0,
        "raycxr": raycxr.__version__,
        "git": git_revision(),
        "driver": _driver(),
        "metric": metric,
        "mode": mode,
        "space": space,
        "dataset": dict(dataset),
        "config": config.model_dump(mode="json"),
    }
    _write(sweep, record)
    # Object storage has no claim that only one can make: of two at the same moment the later one's word stands.
    time.sleep(0 if sweep.is_local else CLAIM_SECONDS)
    driver = read_sweep(sweep)["driver"]
    if driver != record["driver"]:
        raise TrainingError(
            f"sweep {sweep} was begun at the same moment on {driver['host']}", "choose another train.name"
        )


def resume_sweep(
    sweep: Location, config: Config, dataset: Mapping[str, Any], tell: Callable[[str], None]
) -> dict[str, Any]:
    """Reopen a sweep after checking that it still compares the same; returns its record.

    Raises
    ------
    DataError
        There is no such sweep.
    TrainingError
        It was begun with another space, other settings or on other films, or is being run somewhere.
    """
    record = read_sweep(sweep)
    different = sorted(differences(record["config"], config.model_dump(mode="json"), RESUMABLE))
    if different:
        raise TrainingError(
            f"sweep {sweep.name} was started with other settings: {', '.join(different)}",
            "give the same, or start a new sweep that learns from it with tune.start_from",
        )
    if record["status"] == "running" and _alive(record["driver"]):
        raise TrainingError(
            f"sweep {sweep.name} is being run by process {record['driver']['process']} of this machine",
            "wait for it, or stop it first",
        )
    if record["dataset"]["id"] != dataset["id"]:
        raise TrainingError(
            f"sweep {sweep.name} was begun on the data set {record['dataset']['id']}, and {dataset['uri']} holds "
            f"{dataset['id']}",
            "name the same films with dataset.uri, or start a new sweep that learns from it with tune.start_from",
        )
    if record["status"] == "running" and record["driver"]["host"] != socket.gethostname():
        _wait_for_silence(sweep, record, tell)
    config_now = {**record["config"], "tune": config.tune.model_dump(mode="json")}
    record |= {"status": "running", "driver": _driver(), "config": config_now}
    record.pop("reason", None)
    _write(sweep, record)
    return record


def note_sweep(sweep: Location, seconds: float, status: str = "running", reason: str | None = None) -> None:
    """Enter how long a sweep has run, over all of its calls, and how it ended."""
    record = read_sweep(sweep) | {"seconds": round(seconds, 1), "status": status}
    if reason is not None:
        record["reason"] = reason
    _write(sweep, record)


def _write(sweep: Location, record: dict[str, Any]) -> None:
    (sweep / SWEEP).write_text(json.dumps(record | {"updated": now()}, indent=2))


def _driver() -> dict[str, Any]:
    return {"host": socket.gethostname(), "process": os.getpid()}


def _wait_for_silence(sweep: Location, record: Mapping[str, Any], tell: Callable[[str], None]) -> None:
    """Refuse a sweep that another machine goes on writing to."""
    host, heard = record["driver"]["host"], datetime.fromisoformat(record["updated"])
    left = SILENT_SECONDS - (datetime.now(UTC) - heard).total_seconds()
    if left <= 0:
        return
    told = f"sweep {sweep.name} was being run on {host} at {record['updated']}"
    tell(f"{told}: seeing for {left:.0f} s whether it still is")
    time.sleep(left)
    if read_sweep(sweep)["updated"] != record["updated"]:
        raise TrainingError(f"sweep {sweep.name} is being run on {host}", "wait for it, or stop it first")


def _alive(driver: dict[str, Any]) -> bool:
    """Whether the process that runs a sweep is one of this machine, another than this one, and still there."""
    process = int(driver["process"])
    if driver["host"] != socket.gethostname() or process == os.getpid():
        return False
    try:
        return b"raycxr" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
