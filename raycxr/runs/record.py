"""`run.json` and `history.jsonl`: what a run is, how far it is, and how it ended."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import raycxr
from raycxr.config.resources import Workers
from raycxr.config.sections import Config
from raycxr.errors import DataError, TrainingError
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location

RECORD = "run.json"
HISTORY = "history.jsonl"
BEST = "best"
# Pictures of validation films, where they are sent to an MLflow server.
OVERLAYS = "overlays"
# What the name of a checkpoint's folder starts with, and the file in it.
CHECKPOINT = "checkpoint_"
# The same of one within an epoch, which has no metrics and only the run itself goes on from.
MID_EPOCH_CHECKPOINT = "mid_epoch_checkpoint_"
STATE_FILE = "state.pt"
# Sections and keys that may differ when a run is resumed: they do not change what is learned.
RESUMABLE = ("storage", "tune", "resources", "tracking", "evaluate", "postprocess", "ingest", "dataset.uri",
             "dataset.cache", "train.name", "train.loader", "train.loader_workers", "train.num_to_keep",
             "train.checkpoint_steps", "train.checkpoint_minutes")  # fmt: skip
VERSIONED = ("torch", "ray", "segmentation-models-pytorch", "albumentations", "numpy")


def start_record(
    run: Location,
    config: Config,
    dataset: Mapping[str, Any],
    world_size: Workers,
    local: bool = False,
    trial: Mapping[str, Any] | None = None,
) -> None:
    """Claim a run's folder.

    Parameters
    ----------
    dataset : mapping
        `uri`, `id`, `size`, `classes`, `splits` (name -> films).
    world_size : int or (int, int)
        Workers that train together, or the least and the most of them.
    local : bool
        Whether the run is trained without Ray Train.
    trial : mapping or None
        Of a sweep's trial: `candidate`, `member`, `parameters`.

    Raises
    ------
    TrainingError
        The run exists, and is more than an attempt that ended before its first epoch.
    """
    if (run / RECORD).exists() and not _ended_at_once(run):
        raise TrainingError(f"run {run} exists", f"choose another train.name, or continue it with --resume {run.name}")
    record = {
        "run": run.name,
        "kind": "train" if config.classify is None else "classify",
        "status": "running",
        "created": now(),
        "raycxr": raycxr.__version__,
        "git": git_revision(),
        "seed": config.train.seed,
        "world_size": world_size,
        "local": local,
        "dataset": dict(dataset),
        "versions": {"python": platform.python_version(), **_versions()},
        "config": config.model_dump(mode="json"),
        **({} if trial is None else {"trial": dict(trial)}),
    }
    (run / RECORD).write_text(json.dumps(record, indent=2))


def resume_record(
    run: Location, config: Config, dataset: Mapping[str, Any], world_size: Workers, local: bool = False
) -> None:
    """Reopen a run after checking that it is still the same experiment.

    Parameters
    ----------
    run, config, dataset, world_size, local
        As in `start_record`.

    Raises
    ------
    TrainingError
        There is no such run, or it was made with another configuration, data set or split, or with Ray and is to go
        on without it, or the other way round.
    """
    if not (run / RECORD).exists():
        raise TrainingError(f"there is no run {run} to resume", f"see raycxr runs {run.parent}")
    record = read_record(run)
    if record["dataset"]["id"] != dataset["id"]:
        raise TrainingError(
            f"run {run.name} was trained on data set {record['dataset']['id']}, dataset.uri holds {dataset['id']}",
            "restore that data set, or start a new run",
        )
    if record["local"] != local:
        # Ray Train keeps a list of checkpoints of its own, and would start again from the first epoch.
        raise TrainingError(
            f"run {run.name} was trained {'with' if record['local'] else 'without'} --local",
            f"resume it {'with' if record['local'] else 'without'} --local, or start a new run from its weights with "
            f"train.start_from={run}",
        )
    different = sorted(differences(record["config"], config.model_dump(mode="json"), RESUMABLE))
    if different:
        raise TrainingError(
            f"run {run.name} was started with other settings: {', '.join(different)}",
            "give the same, or start a new run",
        )
    resumed = world_size if isinstance(world_size, int) else list(world_size)
    if record["world_size"] != resumed:
        record["resumed_world_size"] = resumed
    _finish(run, record, "running", None)


def change_record(run: Location, config: Config, trial: Mapping[str, Any], exchange: Mapping[str, Any]) -> None:
    """Enter that a trial of population-based training goes on with other parameters, from the weights of another."""
    record = read_record(run)
    record["config"], record["trial"] = config.model_dump(mode="json"), dict(trial)
    record["exchanges"] = [*record.get("exchanges", []), dict(exchange)]
    (run / RECORD).write_text(json.dumps(record, indent=2))


def finish_record(run: Location, status: str, reason: str | None = None) -> None:
    """Write how a run ended: `finished`, or `failed` with the reason in one line."""
    _finish(run, read_record(run), status, reason)


def read_record(run: Location) -> dict[str, Any]:
    """Read `run.json`."""
    return read_document(run / RECORD, "config", "the record of a run")


def read_document(place: Location, key: str, what: str) -> dict[str, Any]:
    """Read a JSON object that has a key.

    Raises
    ------
    DataError
        It is not valid, or something else.
    """
    try:
        document = json.loads(place.read_text())
    except ValueError:
        raise DataError(f"{place} is not valid JSON", "restore it") from None
    if not isinstance(document, dict) or key not in document:
        raise DataError(f"{place} is not {what}", "restore it")
    return document


def read_history(run: Location) -> list[dict[str, Any]]:
    """One entry per finished epoch, in order, and a last one of the mean of their weights where that was asked for.

    Raises
    ------
    DataError
        It is damaged.
    """
    try:
        text = (run / HISTORY).read_text()
    except MissingError:
        return []
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        raise DataError(f"{run / HISTORY} is not valid JSON", "restore it") from None


def count_epochs(history: Sequence[Mapping[str, Any]]) -> int:
    """Count the epochs of a history, and not the other entries.

    These are the mean of the last epochs' weights, which stands after them, and a classifier's folds, which are trained
    before the model that is kept, and bear their names.
    """
    return sum("swa_epochs" not in entry and entry.get("fold") is None for entry in history)


def write_history(run: Location, entries: list[dict[str, Any]]) -> None:
    """Replace the history: object storage cannot append, and a history is a few kilobytes."""
    (run / HISTORY).write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def now() -> str:
    """Time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _ended_at_once(run: Location) -> bool:
    """Whether there is nothing to keep of a run: it ended, and has no epoch."""
    return read_record(run)["status"] in ("failed", "interrupted") and not read_history(run)


def _finish(run: Location, record: dict[str, Any], status: str, reason: str | None) -> None:
    record["status"], record["updated"] = status, now()
    record.pop("reason", None)
    if reason is not None:
        record["reason"] = reason
    (run / RECORD).write_text(json.dumps(record, indent=2))


def differences(old: Any, new: Any, ignored: tuple[str, ...], where: str = "") -> list[str]:
    """Dotted keys in which two configurations differ, but for those that may."""
    if where in ignored:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        inner = [differences(old.get(key), new.get(key), ignored, f"{where}.{key}".lstrip(".")) for key in {*old, *new}]
        return [key for keys in inner for key in keys]
    return [] if old == new else [where]


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in VERSIONED}


def git_revision() -> str | None:
    """Commit of the source tree that is running, with `+changes` where files differ; None for an installed package."""
    revision = os.environ.get("RAYCXR_GIT_REVISION")
    if revision:
        return revision
    root = Path(raycxr.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
