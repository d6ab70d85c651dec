"""What a sweep is, before anything of it starts: its space, and everything that is wrong with it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex, open_splits
from raycxr.errors import ConfigurationError, RaycxrError
from raycxr.number_text import count
from raycxr.runs.metric import Mode, default_mode
from raycxr.runs.sweep import is_sweep, parameter_text, read_sweep
from raycxr.storage.location import Location
from raycxr.storage.patience import first_contact
from raycxr.training.config_check import check_trainable_config
from raycxr.training.run import check_loader, check_precision, describe_dataset, run_name
from raycxr.training.whole_paths import with_whole_paths
from raycxr.tuning.space import Parameters, Space, bounds, build_space, random_draw, with_parameters

# Combinations that are checked before anything starts, of more as many random ones: each of them costs milliseconds.
MOST_CHECKED = 300
# Random ones of a space with ranges, as two numbers that are each within theirs may not go together.
DRAWS_CHECKED = 100


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can be run.

    `base` is the configuration that all trials share, with whole paths and `storage.uri` naming the sweep's folder;
    `dataset` describes its films, `epochs` are the most that a trial has.
    """

    sweep: Location
    base: Config
    dataset: dict[str, Any]
    space: Space
    metric: str
    mode: Mode
    epochs: int


def plan_sweep(config: Config, config_path: Path, resume: bool) -> SweepPlan:
    """Check a configuration.

    Raises
    ------
    ConfigurationError
        The space is empty or names what does not exist, some combination of it cannot be trained, it is not clear which
        sweep is to be resumed, or the one to learn from searched for something else.
    DataError, StorageError
        The data set or the sweep to learn from cannot be read.
    """
    _check_workers(config)
    base, splits = _base(config)
    space = build_space(config.tune, base)
    epochs = _check_combinations(base, space, splits)
    sweep = _find(config, config_path, resume)
    storage = base.storage.model_copy(update={"uri": sweep.uri})
    base = with_whole_paths(base.model_copy(update={"storage": storage}))
    metric = base.train.metric
    _check_start(config.tune.start_from, metric)
    return SweepPlan(sweep, base, describe_dataset(splits), space, metric, default_mode(metric), epochs)


def _check_workers(config: Config) -> None:
    """Refuse a number of workers that changes: how many trials fit at once would change with it."""
    workers = config.resources.workers
    if not isinstance(workers, int):
        raise ConfigurationError(
            f"every trial of a sweep has the same number of workers, resources.workers = {list(workers)}",
            f"set resources.workers={workers[0]}",
        )


def _base(config: Config) -> tuple[Config, SplitIndex]:
    """Configuration that all trials share, with the metric of the sweep, and the films."""
    if config.classify is not None:
        raise ConfigurationError("a classifier is not swept", "leave the section classify out")
    if config.tune.gpu_hours is not None and config.resources.gpus_per_worker == 0:
        raise ConfigurationError("tune.gpu_hours is set, and trials use no GPU", "set tune.hours")
    metric, mode = config.tune.metric or config.train.metric, config.tune.mode
    if mode is not None and mode != default_mode(metric):
        # The best epoch of a run goes by the metric's own mode.
        raise ConfigurationError(
            f"tune.mode = {mode!r}: of {metric} the {'highest' if mode == 'min' else 'lowest'} is the best",
            "leave tune.mode out",
        )
    with first_contact():
        splits = open_splits(config)
    train = config.train.model_copy(update={"metric": metric, "name": None})
    dataset = config.dataset
    if config.tune.folds is not None:
        split = dataset.split or splits.manifest.split
        folds = {"validation_folds": config.tune.folds, "validation_fold": 1}
        dataset = dataset.model_copy(update={"split": split.model_copy(update=folds)})
    base = config.model_copy(update={"train": train, "dataset": dataset})
    return base, splits if config.tune.folds is None else open_splits(base)


def _check_combinations(base: Config, space: Space, splits: SplitIndex) -> int:
    """Refuse a space of which some combination cannot be trained; returns the most epochs of a trial."""
    epochs = 0
    problems: list[tuple[Parameters, RaycxrError]] = []
    combinations = list(itertools.islice(space.combinations(("choice", "grid", "randint")), MOST_CHECKED + 1))
    draw = random_draw(np.random.default_rng(0))
    if len(combinations) > MOST_CHECKED:
        combinations = [space.draw(draw, {}) for _ in range(MOST_CHECKED)]
    elif any(parameter.kind in ("uniform", "loguniform") for parameter in space.parameters.values()):
        combinations += [space.draw(draw, {}) for _ in range(DRAWS_CHECKED)]
    for parameters in combinations:
        try:
            config = with_parameters(base, parameters)
            check_trainable_config(config, splits, config.resources.most_workers)
            check_precision(config, config.resources.gpus_per_worker > 0)
            check_loader(config, True)
            epochs = max(epochs, config.train.epochs)
        except RaycxrError as error:
            problems.append((parameters, error))
    if problems:
        parameters, first = problems[0]
        if len({str(error) for _, error in problems}) == 1 and len(problems) == len(combinations):
            # It does not lie in what is varied. The metric of the sweep has become that of its trials.
            told = first.message.replace("train.metric", "tune.metric") if base.tune.metric else first.message
            raise ConfigurationError(told, first.remedy)
        named = ", ".join(f"{key} = {parameter_text(value)}" for key, value in parameters.items())
        of = f"{len(problems)} of {count(len(combinations), 'combination')} cannot be trained, such as {named}"
        raise ConfigurationError(f"tune.space: {of}: {first.message}", first.remedy)
    # Random combinations may have left the greatest number out.
    varied = space.parameters.get("train.epochs")
    return max(int(most) for most in [epochs, *(varied.values or bounds(varied) if varied else [])])


def _check_start(place: str | None, metric: str) -> None:
    """Refuse to learn from a sweep that searched for something else."""
    if place is None:
        return
    with first_contact():
        other = read_sweep(Location(place))["metric"]
    if other != metric:
        raise ConfigurationError(
            f"tune.start_from: {place} searched for {other}, and this sweep for {metric}",
            "set tune.metric to the same, or leave tune.start_from out",
        )


def _find(config: Config, config_path: Path, resume: bool) -> Location:
    """Folder of the sweep: that of `train.name`, or of a resumed one the only unfinished one of this configuration."""
    storage = Location(config.storage.uri)
    if config.train.name is not None or not resume:
        return storage / run_name(config, config_path)
    places = storage.list() if storage.exists() else []
    sweeps = [place for place in places if place.name.startswith(f"{config_path.stem}-") and is_sweep(place)]
    waiting = [place for place in sweeps if read_sweep(place)["status"] != "finished"]
    if len(waiting) != 1:
        found = f"{len(waiting)}: {', '.join(place.name for place in waiting)}" if waiting else "none"
        raise ConfigurationError(
            f"which sweep is to be resumed? Unfinished ones of {config_path.stem} under {storage}: {found}",
            "name it with train.name=...",
        )
    return waiting[0]
