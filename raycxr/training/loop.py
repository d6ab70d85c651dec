"""The training loop: the same on one process without Ray and on every worker of Ray Train."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from raycxr.config.sections import Config
from raycxr.dataset.films import open_splits
from raycxr.errors import TrainingError
from raycxr.losses.choices import build_loss
from raycxr.losses.weighted_sum import WeightedSum
from raycxr.models.recomputation import recompute_activations
from raycxr.prediction.compute import Compute, choose_compute
from raycxr.prediction.target import TargetKind, target_kind
from raycxr.runs.metric import default_mode, is_better, metric_value
from raycxr.storage.location import Location
from raycxr.training.accumulation import FILMS_PER_PASS, out_of_memory, with_fixed_passes
from raycxr.training.average import EpochMean
from raycxr.training.batch_statistics import agree_on_batch_statistics, measure_batch_statistics
from raycxr.training.epoch import train_epoch, validate
from raycxr.training.gauges import epoch_figures
from raycxr.training.initial_state import initial_state
from raycxr.training.kernels import choose_kernels
from raycxr.training.loaders import Loaders, make_loaders
from raycxr.training.mid_epoch import MidEpoch
from raycxr.training.overlays import watched_films
from raycxr.training.rule_search import search_rules, training_rules
from raycxr.training.saver import Saver
from raycxr.training.session import Session
from raycxr.training.startup import without_garbage_collection
from raycxr.training.state import Progress, TrainingState
from raycxr.training.step_profiler import StepProfiler
from raycxr.training.step_times import StepTimes


def run_training(config: Config, run: Location, session: Session, cpus: int) -> Progress:
    """Train one run to its end; parameters as of `train_epochs`.

    Returns
    -------
    Progress
        The history and the best epoch.
    """
    epochs = train_epochs(config, run, session, cpus)
    while True:
        try:
            next(epochs)
        except StopIteration as end:
            progress: Progress = end.value
            return progress


def train_epochs(
    config: Config, run: Location, session: Session, cpus: int
) -> Generator[dict[str, Any], None, Progress]:
    """Train one run epoch by epoch, as far as it is asked to.

    Parameters
    ----------
    config : Config
        Checked by `check_trainable_config`.
    run : Location
        Folder of the run, with its record.
    session : Session
        Where this worker stands.
    cpus : int
        CPUs of this worker, loading processes included.

    Yields
    ------
    dict
        The entry of each epoch in the history, once it is reported. Where the generator is closed there, the files of
        that epoch are still brought to their end.

    Returns
    -------
    Progress
        The history and the best epoch.
    """
    compute = choose_compute(config.train, session.device)
    choose_kernels(config.train, session.device)
    torch.set_num_threads(cpus)
    splits = open_splits(config)
    target = target_kind(config.dataset, splits.manifest.classes)
    snapshot = session.latest_checkpoint()
    config = with_fixed_passes(config, target, splits.manifest.geometry.size, compute, session, snapshot)
    loaders = make_loaders(config, splits, session, compute, cpus)
    loss = build_loss(config.loss, config.dataset.target, config.loss_settings)
    mode = default_mode(config.train.metric)
    steps_per_epoch = len(loaders.train) // config.train.passes
    films_per_pass = config.train.batch_size // (session.world_size * config.train.passes)

    # What every checkpoint tells besides the state.
    further = {FILMS_PER_PASS: films_per_pass}
    mid_epoch = MidEpoch(config.train, session, steps_per_epoch, snapshot, further)
    loaders.train_sampler.epoch = 1 if snapshot is None else snapshot["epoch"] + 1
    loaders.train_sampler.first_batch = mid_epoch.first_step * config.train.passes
    # Asked for before the network is built, so that the loading processes start meanwhile.
    batches = iter(loaders.train)
    torch.manual_seed(config.train.seed)
    with without_garbage_collection():
        state = initial_state(config, target, compute, steps_per_epoch)
    if snapshot is not None:
        state.restore(snapshot)
    if config.train.checkpoint_activations:
        recompute_activations(state.model, 1, splits.manifest.geometry.size)
    wrapped = session.wrap(state.model)
    rules, tell = training_rules(config, target), session.progress.tell
    saver = Saver(run, config, target, splits, rules, tell) if session.rank == 0 else None
    overlays = watched_films(config, splits, target, session.world_size) if saver is not None else None
    profiled = config.tracking.profile and saver is not None
    if saver is not None and snapshot is not None:
        saver.resume(state.progress, snapshot)

    last_ended = time.perf_counter()
    with _saved_before_leaving(saver, session, films_per_pass):
        while state.progress.epoch < config.train.epochs and not _is_stale(state.progress, config.train.patience):
            epoch = state.progress.epoch + 1
            train_started = time.perf_counter()
            session.progress.start(epoch, config.train.epochs, steps_per_epoch)
            if loaders.train_sampler.epoch != epoch:
                loaders.train_sampler.epoch, loaders.train_sampler.first_batch = epoch, 0
                batches = iter(loaders.train)
            profiler = StepProfiler(run, steps_per_epoch, session.device, tell) if profiled else None
            profiled, times = False, StepTimes(session.gauges, profiler)
            with profiler or nullcontext():
                trained = train_epoch(
                    state, wrapped, batches, loss, target, compute, session, (epoch - 1) * steps_per_epoch,
                    config.train.passes, config.optimizer.clip_norm, mid_epoch, times,
                )  # fmt: skip
            data_wait = times.wait_share(session)
            train_seconds = time.perf_counter() - train_started
            trained |= loaders.train_sampler.order.record(epoch)
            agree_on_batch_statistics(state.models, session)
            if state.epoch_mean is not None:
                state.epoch_mean.after_epoch(epoch, state.model)
            metrics = validate(state.validated, loaders.validation, loss, target, compute, session, overlays)
            _check_finite(metrics["loss"], epoch)
            value = metric_value(metrics, config.train.metric)
            state.schedule.after_epoch(value)
            best = is_better(value, state.progress.best_value, mode)
            entry = state.progress.advance(trained, metrics, value, best, session.world_size)
            epoch_ended = time.perf_counter()
            # From the end of one epoch to the end of the next, so that saving the last one is not hidden.
            entry["seconds"] = round(epoch_ended - last_ended, 3)
            last_ended = epoch_ended
            entry["images_per_second"] = round((trained["images"] - mid_epoch.images_before) / train_seconds, 2)
            entry["data_wait"] = round(data_wait, 4)
            if session.gauges is not None:
                session.gauges.show(epoch_figures(entry, session.device))
            copy = None if saver is None else state.snapshot() | further | {"value": value}
            session.report(entry, value, copy)
            if saver is not None and copy is not None:
                saver.save(entry, copy, overlays.taken() if overlays is not None and entry["best"] else ())
            session.progress.end(entry, config.train.epochs)
            yield entry
    if state.epoch_mean is not None:
        # Not in a checkpoint: a run that is killed from here on repeats it from its last one.
        _validate_epoch_mean(state, state.epoch_mean, config, loaders, loss, target, compute, session, saver)
    session.close()
    if saver is not None:
        saver.close()
        if config.postprocess.search and state.progress.best_epoch is not None:
            # The first worker alone, without exchange: the others are done and need not wait.
            search_rules(config, run, splits, compute.device, session.progress.tell)
    return state.progress


def _validate_epoch_mean(
    state: TrainingState,
    mean: EpochMean,
    config: Config,
    loaders: Loaders,
    loss: WeightedSum,
    target: TargetKind,
    compute: Compute,
    session: Session,
    saver: Saver | None,
) -> None:
    """Enter the mean over the last epochs into the history, after them, and save it where it is the best."""
    started = time.perf_counter()
    epochs, metric = config.train.epochs, config.train.metric
    session.progress.start(epochs + 1, epochs, len(loaders.train))
    loaders.train_sampler.epoch, loaders.train_sampler.first_batch = epochs + 1, 0
    images = measure_batch_statistics(mean.model, loaders.train, compute, session)
    metrics = validate(mean.model, loaders.validation, loss, target, compute, session)
    value = metric_value(metrics, metric)
    best = is_better(value, state.progress.best_value, default_mode(metric))
    entry = state.progress.advance({"lr": 0.0, "images": images}, metrics, value, best, session.world_size)
    seconds = time.perf_counter() - started
    entry |= {"swa_epochs": mean.epochs, "seconds": round(seconds, 3), "images_per_second": round(images / seconds, 2)}
    session.report(entry, value, None)
    if saver is not None:
        snapshot = state.snapshot()
        saver.save(entry, snapshot | {"average": snapshot["epoch_mean"]}, ())
    session.progress.end(entry, epochs)


def _check_finite(validation_loss: float, epoch: int) -> None:
    """Keep weights that the last step of an epoch has spoilt away from the checkpoints."""
    if not math.isfinite(validation_loss):
        raise TrainingError(
            f"the validation loss became {validation_loss} in epoch {epoch}",
            "lower optimizer.lr, set optimizer.clip_norm, or set train.precision=fp32",
        )


@contextmanager
def _saved_before_leaving(saver: Saver | None, session: Session, films_per_pass: int) -> Iterator[None]:
    """Where an epoch fails, or is the last one asked for, wait until what it and those before it left is in storage.

    The process may end at once.
    """
    try:
        yield
    except (Exception, GeneratorExit) as error:  # it goes on; here only the files of epochs are waited for
        if saver is not None:
            saver.close()
        session.close()
        if isinstance(error, torch.OutOfMemoryError):
            raise out_of_memory(films_per_pass) from error
        raise


def _is_stale(progress: Progress, patience: int | None) -> bool:
    """Whether early stopping has run out of patience."""
    if patience is None or progress.best_epoch is None:
        return False
    return progress.epoch - progress.best_epoch >= patience
