"""A run from its configuration to its record: named, checked, claimed, trained, closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from raycxr.config.resources import Workers
from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex, open_splits
from raycxr.dataset.loader import available_cpus
from raycxr.errors import (
    ClusterLostError,
    ConfigurationError,
    InterruptionError,
    RaycxrError,
    StorageError,
    TrainingError,
)
from raycxr.prediction.compute import choose_compute
from raycxr.runs.metric import default_mode
from raycxr.runs.record import BEST, count_epochs, finish_record, read_history, resume_record, start_record
from raycxr.storage.check import check_writable
from raycxr.storage.location import Location
from raycxr.storage.patience import first_contact
from raycxr.training.allocator import keep_freed_memory
from raycxr.training.config_check import check_trainable_config
from raycxr.training.loop import run_training
from raycxr.training.mlflow_run import end_mlflow_run
from raycxr.training.session import LocalSession


@dataclass(frozen=True)
class RunResult:
    """A finished run. `metrics` are those of the best epoch on validation.

    Where the mean of the last epochs' weights is the best, `best_epoch` is the number after the last one.
    """

    run: str
    bundle: str
    epochs: int
    best_epoch: int
    metrics: dict[str, Any]


# Trains a claimed run: (configuration, folder of the run, whether to resume).
Trainer = Callable[[Config, Location, bool], None]


def train(
    config: Config, config_path: Path, resume: str | None, trainer: Trainer, tell: Callable[[str], None]
) -> RunResult:
    """Train one run.

    Parameters
    ----------
    resume : str or None
        Name or URI of a run to continue.
    trainer : Trainer
        `train_here`, or the one of `raycxr.training.ray_train`.
    tell : callable
        Says in one line what is going on.

    Raises
    ------
    RaycxrError
        In one line: the configuration does not fit the data, the run exists or cannot be resumed, storage refuses,
        the loss diverged.
    """
    local = trainer is train_here
    workers: Workers = 1 if local else config.resources.workers
    run = (
        _find_run(config, resume)
        if resume is not None
        else Location(config.storage.uri) / run_name(config, config_path)
    )
    on_gpu = torch.cuda.is_available() if local else config.resources.gpus_per_worker > 0
    description = claim_run(config, run, workers, local, on_gpu, resume is not None)
    counts = ", ".join(f"{count} {name}" for name, count in description["splits"].items())
    tell(f"run {run}: films of {description['size']} pixels ({counts}), classes {', '.join(description['classes'])}")
    try:
        trainer(config, run, resume is not None)
        result = close_run(config, run)
    except KeyboardInterrupt:
        _finish(config, run, tell, "interrupted")
        raise InterruptionError(f"run {run.name} was interrupted", f"continue with --resume {run.name}") from None
    except Exception as error:
        # The record must not say "running" for ever; the error itself goes on to the user.
        with suppress(StorageError):  # such as a full disk, which the error tells of
            _finish(config, run, tell, "failed", error.message if isinstance(error, RaycxrError) else repr(error))
        if isinstance(error, StorageError | ClusterLostError):
            resume = f"continue with --resume {run.name}"
            raise type(error)(error.message, f"{error.remedy}, and {resume}" if error.remedy else resume) from error
        raise
    end_mlflow_run(run, config.tracking, tell, "finished")
    return result


def _finish(config: Config, run: Location, tell: Callable[[str], None], status: str, reason: str | None = None) -> None:
    """Enter how a run ended that has not finished, in its record first."""
    finish_record(run, status, reason)
    end_mlflow_run(run, config.tracking, tell, status, reason)


def claim_run(
    config: Config,
    run: Location,
    workers: Workers,
    local: bool,
    on_gpu: bool,
    resume: bool,
    trial: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check a configuration, and claim the folder of a new run or reopen that of one to resume.

    Parameters
    ----------
    workers : int or (int, int)
        Workers that train together, or the least and the most of them.
    local : bool
        Whether the run keeps its checkpoints itself, and not Ray Train.
    on_gpu : bool
        Whether it will be trained on a GPU.
    trial : mapping or None
        What a sweep says of its trial: `candidate`, `member`, `parameters`.

    Returns
    -------
    dict
        The data set: `uri`, `id`, `size` (pixels), `classes`, `splits` (name -> films).
    """
    with first_contact():
        splits = open_splits(config)
    check_trainable_config(config, splits, workers)
    check_precision(config, on_gpu)
    check_loader(config, local)
    check_writable(run.parent)
    description = describe_dataset(splits)
    if resume:
        resume_record(run, config, description, workers, local)
    else:
        start_record(run, config, description, workers, local, trial)
    return description


def close_run(config: Config, run: Location) -> RunResult:
    """Enter that a run has finished.

    Raises
    ------
    TrainingError
        No epoch is the best one.
    """
    history = read_history(run)
    best = next((entry for entry in reversed(history) if entry["best"]), None)
    if best is None:
        finish_record(run, "failed", f"{config.train.metric} was undefined in every epoch")
        raise TrainingError(
            f"{config.train.metric} was undefined in every epoch of {run}", "choose another train.metric"
        )
    finish_record(run, "finished")
    return RunResult(run.uri, (run / BEST).uri, count_epochs(history), best["epoch"], best["validation"])


def train_here(config: Config, run: Location, resume: bool) -> None:
    """Train in this process, without Ray."""
    if not torch.cuda.is_available():
        keep_freed_memory()
    session = LocalSession(run, config.train.num_to_keep, default_mode(config.train.metric), resume)
    run_training(config, run, session, available_cpus())


def run_name(config: Config, config_path: Path) -> str:
    """Name of a new run: `train.name`, else one made from the configuration's file and the time."""
    return config.train.name or f"{config_path.stem}-{datetime.now():%Y%m%d-%H%M%S}"


def _find_run(config: Config, resume: str) -> Location:
    """Run by its name under `storage.uri`, or by its own URI."""
    if "/" in resume:
        return Location(resume)
    return Location(config.storage.uri) / resume


def check_precision(config: Config, on_gpu: bool) -> None:
    """Refuse what a CPU cannot compute in, where a run has no GPU."""
    if not on_gpu:
        choose_compute(config.train, torch.device("cpu"))


def check_loader(config: Config, local: bool) -> None:
    """Refuse to stream to workers that are not of Ray Train."""
    if local and config.train.loader == "ray":
        raise ConfigurationError(
            "train.loader = 'ray' feeds workers of Ray Train, which neither --local nor the trials of a sweep have",
            "set train.loader=torch",
        )


def describe_dataset(splits: SplitIndex) -> dict[str, Any]:
    """`uri`, `id`, `size` (pixels), `classes` and `splits` (name -> films) of a data set, as records have them."""
    return {
        "uri": splits.location.uri,
        "id": splits.manifest.id,
        "size": splits.manifest.geometry.size,
        "classes": list(splits.manifest.classes),
        "splits": {name: len(splits.annotated(name)) for name in splits.rows},
    }
