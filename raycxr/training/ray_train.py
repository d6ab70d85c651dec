"""The training loop on Ray Train: the only file of the package that knows Ray Train.

Everything heavy is imported inside the worker's function: the controller of a run unpickles it as well, and would
otherwise import torch for nothing.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ray
import ray.train
from ray.train.backend import BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from raycxr.config.sections import Config
from raycxr.errors import RaycxrError, TrainingError, first_line
from raycxr.number_text import count
from raycxr.runs.metric import default_mode
from raycxr.runs.record import RECORD, STATE_FILE
from raycxr.signals import kept_handler
from raycxr.storage.location import Location
from raycxr.training.allocator import KEEP_FREED_MEMORY
from raycxr.training.ray_channel import Channel, ChannelDisplay, ChannelProgress
from raycxr.training.whole_paths import with_whole_paths

if TYPE_CHECKING:
    import torch
    from torch import nn

    from raycxr.dataset.films import SplitIndex
    from raycxr.dataset.loader import BatchLoader, TrainSampler
    from raycxr.training.gauges import Gauges
    from raycxr.training.progress import EpochProgress
    from raycxr.training.ray_loader import RayLoader

# CPUs of a worker beyond which more of them only help where the user says so.
MOST_CPUS = 8
DISPLAY_INTERVAL = 0.2


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
    }
    trainer = _trainer(config, settings, cpus, run)
    failure: BaseException | None = None
    with _display(channel, config.train.epochs), kept_handler(signal.SIGINT):
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            failure = _original(error)
        except SystemExit:
            # What Ray Train makes of Ctrl-C.
            if channel.failure() is None:
                raise KeyboardInterrupt from None
    told = channel.failure()
    if told is not None:
        raise told
    if failure is not None:
        first = first_line(failure)
        raise TrainingError(
            f"training failed: {type(failure).__name__}: {first}",
            f"mend the cause and continue with --resume {run.name}; --debug shows the traceback",
        ) from failure


def _trainer(config: Config, settings: dict[str, Any], cpus: int, run: Location) -> DataParallelTrainer:
    resources = config.resources
    filesystem, path = run.parent.filesystem()
    memory = KEEP_FREED_MEMORY if resources.gpus_per_worker == 0 else {}
    parts = {
        "train_loop_config": settings,
        "scaling_config": ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker=_worker_resources(config, cpus),
        ),
        "run_config": ray.train.RunConfig(
            name=run.name,
            storage_path=path,
            storage_filesystem=None if run.is_local else filesystem,
            failure_config=ray.train.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=config.train.num_to_keep,
                checkpoint_score_attribute="value",
                checkpoint_score_order=default_mode(config.train.metric),
            ),
            # Ray gives a worker one thread unless told otherwise.
            worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(cpus), **memory}},
        ),
    }
    if resources.workers == 1:
        # One worker needs no process group, and without torch's backend neither this process nor the controller
        # has to import torch before it can start: 8 of 30 seconds on two cores.
        return DataParallelTrainer(_work, backend_config=BackendConfig(), **parts)
    from ray.train.torch import TorchTrainer

    return TorchTrainer(_work, **parts)


def _work(settings: dict[str, Any]) -> None:
    """Train on one worker."""
    from raycxr.training.loop import run_training

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
        run_training(config, run, RaySession(config, run, channel), settings["cpus"])
    except RaycxrError as error:
        # Ray would try again; the same data and settings would fail again.
        channel.fail(error)
        if ray.train.get_context().get_world_size() > 1:
            # The others may be waiting for this worker's share of a sum: Ray ends them all, and their next attempt
            # finds the message.
            raise


class RaySession:
    """One worker of Ray Train; see `raycxr.training.session.Session`."""

    def __init__(self, config: Config, run: Location, channel: Channel) -> None:
        import torch

        from raycxr.training.progress import SilentProgress

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.sync_batch_norm = config.train.sync_batch_norm
        self.config = config
        self.loader: RayLoader | None = None
        self.run = run
        self.progress: EpochProgress = ChannelProgress(channel) if self.rank == 0 else SilentProgress()
        if config.resources.gpus_per_worker > 0:
            from ray.train.torch import get_device

            self.device: torch.device = get_device()
        else:
            self.device = torch.device("cpu")
        self.gauges: Gauges | None = None
        if config.tracking.prometheus:
            from raycxr.training.ray_metrics import RayGauges

            self.gauges = RayGauges(run.name, self.rank)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Model in DistributedDataParallel where there are several workers."""
        from raycxr.training.distributed import average_gradients

        return average_gradients(model, self.device, self.world_size, self.sync_batch_norm)

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all workers."""
        from raycxr.training.distributed import sum_over_workers

        return sum_over_workers(values, self.world_size)

    def latest_checkpoint(self) -> dict[str, Any] | None:
        """Snapshot that Ray Train registered last, also after a worker was lost."""
        from raycxr.prediction.snapshot import load_snapshot

        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.filesystem.open_input_file(f"{checkpoint.path}/{STATE_FILE}") as file:
            return load_snapshot(file.read(), checkpoint.path)

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        """Report an epoch; the snapshot is written and sent while the next epoch trains."""
        metrics = {"value": value, "epoch": entry["epoch"]}
        if snapshot is None:
            ray.train.report(metrics)
            return
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint(mkdtemp()),
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=_Upload(self.run, snapshot),
            delete_local_checkpoint_after_upload=True,
        )

    def close(self) -> None:
        """End the stream of batches; Ray Train itself waits for the uploads when the loop returns."""
        if self.loader is not None:
            self.loader.close()

    def stream(self, splits: SplitIndex, sampler: TrainSampler, pin_memory: bool) -> BatchLoader | None:
        """Batches of Ray Data, where the configuration asks for them."""
        if self.config.train.loader != "ray":
            return None
        from raycxr.training.ray_loader import RayLoader

        self.loader = RayLoader(self.config, splits, sampler, pin_memory)
        return self.loader


class _Upload:
    """Writes a snapshot into the run's folder, in the background and in one piece."""

    def __init__(self, run: Location, snapshot: Mapping[str, Any]) -> None:
        self.run, self.snapshot = run, snapshot

    def __call__(self, checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        from raycxr.prediction.snapshot import save_snapshot

        folder = self.run / name
        save_snapshot(self.snapshot, folder)
        filesystem, path = folder.filesystem()
        return ray.train.Checkpoint(path, filesystem)


class _display:  # noqa: N801 - used as a function of a `with` statement
    """Shows the channel on the terminal in the background."""

    def __init__(self, channel: Channel, epochs: int) -> None:
        self.display = ChannelDisplay(channel, epochs)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.display.poll()

    def _follow(self) -> None:
        while not self.done.wait(DISPLAY_INTERVAL):
            self.display.poll()


def _cpus_per_worker(config: Config) -> int:
    """CPUs of each worker, after making sure that the cluster can hold all of them."""
    total = ray.cluster_resources()
    workers, gpus = config.resources.workers, config.resources.gpus_per_worker
    streams = config.train.loader == "ray"
    # Ray Data has CPUs of its own, as many as there are workers where nothing is said.
    shared = int(total.get("CPU", 1)) - (workers if streams else 0)
    cpus = config.resources.cpus_per_worker or max(1, min(MOST_CPUS, shared // workers))
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


def _original(error: BaseException) -> BaseException:
    """The exception that the loop raised, out of the layers in which Ray Train hands it over."""
    while True:
        failures = getattr(error, "worker_failures", None)
        inner = failures[min(failures)] if failures else None
        for name in ("controller_failure", "_base_exc", "cause"):
            inner = inner or getattr(error, name, None)
        if not isinstance(inner, BaseException):
            return error
        error = inner
