"""The training loop on Ray Train: the only file of the package that knows Ray Train.

Everything heavy is imported inside the worker's function: the controller of a run unpickles it as well, and would
otherwise import torch for nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any
from uuid import uuid4

import ray
import ray.train
from ray.exceptions import RpcError
from ray.train.backend import BackendConfig
from ray.train.v2._internal.constants import WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from raycxr.config.resources import world_sizes
from raycxr.config.sections import Config
from raycxr.errors import ClusterLostError, RaycxrError, TrainingError
from raycxr.number_text import count
from raycxr.runs.metric import default_mode
from raycxr.runs.record import RECORD
from raycxr.signals import kept_handler
from raycxr.storage.location import Location
from raycxr.training.allocator import KEEP_FREED_MEMORY
from raycxr.training.ray_channel import Channel, ChannelDisplay
from raycxr.training.ray_checkpoints import delete_mid_epoch, drop_broken_list
from raycxr.training.ray_failure import run_failure
from raycxr.training.whole_paths import with_whole_paths

# CPUs of a worker beyond which more of them only help where the user says so.
MOST_CPUS = 8
DISPLAY_INTERVAL = 0.2
ELASTIC_PLACE_SECONDS = "20"


def train_on_ray(config: Config, run: Location, resume: bool) -> None:
    """Train a claimed run on the connected cluster.

    A run that is resumed continues from the latest checkpoint, because Ray Train knows it by its name.

    Raises
    ------
    TrainingError
        The cluster is too small, or the workers failed more often than allowed.
    RaycxrError
        Whatever the training loop found wrong.
    """
    cpus = _cpus_per_worker(config)
    channel = Channel(uuid4().hex)
    settings = {
        "config": with_whole_paths(config).model_dump(mode="json"),
        "run": run.uri,
        "cpus": cpus,
        "attempt": channel.attempt,
        "resume": resume,
    }
    if resume:
        drop_broken_list(run)
    trainer = _trainer(config, settings, cpus, run)
    failure: BaseException | None = None
    with _display(channel, config.train.epochs), kept_handler(signal.SIGINT):
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            failure = error
        except SystemExit:
            # What Ray Train makes of Ctrl-C.
            if channel.failure() is None:
                raise KeyboardInterrupt from None
    told = channel.failure()
    if told is not None:
        raise told
    if failure is not None:
        raise run_failure(failure, run.name) from failure
    delete_mid_epoch(run)


def _trainer(config: Config, settings: dict[str, Any], cpus: int, run: Location) -> DataParallelTrainer:
    resources = config.resources
    filesystem, path = run.parent.filesystem()
    memory = KEEP_FREED_MEMORY if resources.gpus_per_worker == 0 else {}
    parts = {
        "train_loop_config": settings,
        "scaling_config": ray.train.ScalingConfig(
            num_workers=resources.workers,
            elastic_resize_monitor_interval_s=60 * resources.resize_minutes,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=_worker_resources(config, cpus),
        ),
        "run_config": ray.train.RunConfig(
            name=run.name,
            storage_path=path,
            storage_filesystem=None if run.is_local else filesystem,
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                # Ray counts the latest one, where that is among the best; it needs one before it to fall back on.
                num_to_keep=config.train.num_to_keep + 1,
                checkpoint_score_attribute="value",
                checkpoint_score_order=default_mode(config.train.metric),
            ),
            # Ray gives a worker one thread unless told otherwise.
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(cpus), **memory}},
        ),
    }
    os.environ[WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR] = str(60 * resources.hang_minutes)
    if not isinstance(resources.workers, int):
        # How long Ray waits for the places of workers, on a node that is gone perhaps, before it counts anew.
        os.environ.setdefault(WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, ELASTIC_PLACE_SECONDS)
    if resources.most_workers == 1:
        # One worker needs no process group, and without torch's backend neither this process nor the controller
        # has to import torch before it can start: 8 of 30 seconds on two cores.
        return DataParallelTrainer(_work, backend_config=BackendConfig(), **parts)
    from ray.train.torch import TorchConfig, TorchTrainer

    # Those that wait for a worker that hangs give up as well, where it still answers Ray.
    patient = TorchConfig(timeout_s=max(1, round(60 * resources.hang_minutes)))
    return TorchTrainer(_work, torch_config=patient, **parts)


def _work(settings: dict[str, Any]) -> None:
    """Train on one worker."""
    from raycxr.training.loop import run_training
    from raycxr.training.ray_session import RaySession

    channel = Channel(settings["attempt"])
    if channel.failure() is not None:
        return
    try:
        config = Config.model_validate(settings["config"])
        run = Location(settings["run"])
        if not (run / RECORD).exists():
            raise TrainingError(
                f"a worker cannot see the run {run}", "set storage.uri to s3:// or to a folder that all nodes share"
            )
        run_training(config, run, RaySession(config, run, channel, settings["resume"]), settings["cpus"])
    except RaycxrError as error:
        # Ray would try again; the same data and settings would fail again.
        channel.fail(error)
        if ray.train.get_context().get_world_size() > 1:
            # The others may be waiting for this worker's share of a sum: Ray ends them all, and their next attempt
            # finds the message.
            raise


class _display:  # noqa: N801 - used as a function of a `with` statement
    """Shows the channel on the terminal in the background."""

    def __init__(self, channel: Channel, epochs: int) -> None:
        self.display = ChannelDisplay(channel, epochs)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done.set()
        if isinstance(error, ClusterLostError):
            return  # the thread waits for an answer that does not come
        self.thread.join()
        self.display.poll()

    def _follow(self) -> None:
        # A head that is gone is told of by who waits for the run.
        with suppress(RpcError):
            while not self.done.wait(DISPLAY_INTERVAL):
                self.display.poll()


def _cpus_per_worker(config: Config) -> int:
    """CPUs of each worker, after making sure that the cluster can hold all of them."""
    total = ray.cluster_resources()
    workers, gpus = world_sizes(config.resources.workers)[0], config.resources.gpus_per_worker
    streams, most = config.train.loader == "ray", config.resources.most_workers
    # Ray Data has CPUs of its own, as many as there are workers where nothing is said.
    shared = int(total.get("CPU", 1)) - (most if streams else 0)
    cpus = config.resources.cpus_per_worker or max(1, min(MOST_CPUS, shared // most))
    ask = "asks" if workers == 1 else "ask"
    for name, asked in (("CPU", workers * cpus), ("GPU", workers * gpus)):
        if asked > total.get(name, 0) and config.resources.address is None:
            raise TrainingError(
                f"{count(workers, 'worker')} {ask} for {asked:g} {name}s, this cluster has {total.get(name, 0):g}",
                "lower resources.workers, .cpus_per_worker or .gpus_per_worker",
            )
    if streams and workers * cpus >= total.get("CPU", 0) and config.resources.address is None:
        raise TrainingError(
            f"{count(workers, 'worker')} with {count(cpus, 'CPU')} each leave none of the cluster's "
            f"{total.get('CPU', 0):g} for Ray Data, which is to load for them",
            "lower resources.workers or .cpus_per_worker, or set train.loader=torch",
        )
    return cpus


def _worker_resources(config: Config, cpus: int) -> dict[str, float]:
    resources: dict[str, float] = {"CPU": cpus}
    if config.resources.gpus_per_worker > 0:
        resources["GPU"] = config.resources.gpus_per_worker
    return resources
