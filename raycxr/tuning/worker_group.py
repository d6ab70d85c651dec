"""Several workers on Ray Train that are kept from trial to trial, as starting them takes longer than a short epoch.

One run of Ray Train lasts as long as the sweep needs its workers. They wait for the number of the next trial, train it
epoch by epoch, and after each epoch for the word to go on. All of it goes through the channel, so that workers that
were lost and started anew find out where they were.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import threading
import time
from collections.abc import Generator
from typing import Any
from uuid import uuid4

import ray
import ray.train

from raycxr.config.resources import ResourcesSection
from raycxr.config.sections import Config
from raycxr.errors import RaycxrError, TrainingError, first_line
from raycxr.storage.location import Location
from raycxr.training.allocator import KEEP_FREED_MEMORY
from raycxr.training.ray_channel import Channel
from raycxr.training.ray_metrics import RayGauges

POLL_SECONDS = 0.05
# Losses after which the workers of several trials are given up, and the next trial begins with others.
MOST_LOSSES = 20
ON, STOP, QUIT = b"on", b"stop", b"quit"


class WorkerGroup:
    """Workers of one trial at a time, seen from the process that leads them.

    Parameters
    ----------
    resources : ResourcesSection
        How many workers there are, and how often they may be lost in one trial.
    cpus : int
        CPUs of each.
    """

    def __init__(self, resources: ResourcesSection, cpus: int) -> None:
        self.channel = Channel(uuid4().hex)
        self.number = -1
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._work, args=(resources, cpus), daemon=True)
        self.thread.start()

    def train(self, config: Config, run: Location, resume: bool) -> Generator[dict[str, Any], None, None]:
        """Train a claimed run epoch by epoch.

        Raises
        ------
        RaycxrError
            What the training loop found wrong, or that the workers were lost too often.
        """
        self.number += 1
        job = {"config": config.model_dump(mode="json"), "run": run.uri, "resume": resume}
        self.channel.put(f"{self.number}:job", json.dumps(job).encode())
        asked = 0
        try:
            while (message := self._wait(f"{self.number}:{asked}")) is not None:
                yield json.loads(message)
                self.channel.put(f"{self.number}:{asked}:word", ON)
                asked += 1
        except GeneratorExit:
            self.channel.put(f"{self.number}:stop", STOP)
            self.channel.put(f"{self.number}:{asked}:word", STOP)
            self._wait("never")
            raise

    @property
    def alive(self) -> bool:
        """Whether it may train a further run."""
        return self.thread.is_alive()

    def close(self) -> None:
        """Let the workers go."""
        self.channel.put(f"{self.number + 1}:job", QUIT)
        self.thread.join(timeout=60)

    def _wait(self, key: str) -> bytes | None:
        """Wait for a message, or for the end of the trial, which is None."""
        while True:
            message = self.channel.get(key)
            if message is not None:
                return message
            ended = self.channel.get(f"{self.number}:end")
            if ended is not None:
                failure = pickle.loads(ended)
                if failure is not None:
                    raise failure
                return None
            if not self.thread.is_alive():
                raise TrainingError(f"the workers ended: {self.failure and first_line(self.failure)}")
            time.sleep(POLL_SECONDS)

    def _work(self, resources: ResourcesSection, cpus: int) -> None:
        from ray.train.torch import TorchTrainer

        memory = KEEP_FREED_MEMORY if resources.gpus_per_worker == 0 else {}
        per_worker: dict[str, float] = {"CPU": cpus}
        if resources.gpus_per_worker > 0:
            per_worker["GPU"] = resources.gpus_per_worker
        with tempfile.TemporaryDirectory(prefix="raycxr-workers-") as folder:
            trainer = TorchTrainer(
                _serve,
                train_loop_config={
                    "attempt": self.channel.attempt,
                    "cpus": cpus,
                    "losses": resources.max_failures,
                    "on_gpu": resources.gpus_per_worker > 0,
                },
                scaling_config=ray.train.ScalingConfig(
                    num_workers=resources.most_workers,
                    use_gpu=resources.gpus_per_worker > 0,
                    resources_per_worker=per_worker,
                ),
                run_config=ray.train.RunConfig(
                    storage_path=folder,
                    # Losses are counted for each trial by the workers themselves, if they live long enough to do so.
                    failure_config=ray.train.FailureConfig(max_failures=MOST_LOSSES),
                    worker_runtime_env={"env_vars": {"OMP_NUM_THREADS": str(cpus), **memory}},
                ),
            )
            try:
                trainer.fit()
            except Exception as error:  # told by `_wait`, in the thread that waits
                self.failure = error


def _serve(settings: dict[str, Any]) -> None:
    """Train what the channel names, run after run."""
    import torch
    import torch.distributed
    from ray.train.torch import get_device

    channel = Channel(settings["attempt"])
    device = get_device() if settings["on_gpu"] else torch.device("cpu")
    if torch.distributed.get_rank() == 0:
        _count_loss(channel, settings["losses"])
    torch.distributed.barrier()
    number = _first_open(channel)
    while True:
        message = _await(channel, f"{number}:job")
        if message == QUIT:
            return
        if channel.get(f"{number}:end") is None:
            _train(channel, number, json.loads(message), device, settings["cpus"])
        torch.distributed.barrier()
        number += 1


def _train(channel: Channel, number: int, job: dict[str, Any], device: Any, cpus: int) -> None:
    import torch.distributed

    from raycxr.training.group_session import GroupSession
    from raycxr.training.loop import train_epochs

    first = torch.distributed.get_rank() == 0
    config, run = Config.model_validate(job["config"]), Location(job["run"])
    told, epoch_told = _already_told(channel, number)
    # After a loss it goes on, whether or not it did at first.
    session = GroupSession(config, run, device, job["resume"] or told > 0)
    gauges = RayGauges(f"{run.parent.name}/{run.name}", session.rank) if config.tracking.prometheus else None
    session.gauges = gauges
    if first:
        channel.put("doing", str(number).encode())
    failure: RaycxrError | None = None
    try:
        epochs = train_epochs(config, run, session, cpus)
        for entry in epochs:
            if entry["epoch"] <= epoch_told:
                continue  # trained again after a loss
            if first:
                channel.put(f"{number}:{told}", json.dumps(entry).encode())
            if _await(channel, f"{number}:{told}:word") == STOP:
                epochs.close()
                break
            told += 1
    except RaycxrError as error:
        failure = error
    except Exception as error:  # such as no memory
        line = first_line(error)
        failure = TrainingError(f"{type(error).__name__}: {line}")
    if gauges is not None:
        gauges.rest()
    if failure is not None:
        channel.put(f"{number}:end", pickle.dumps(failure))
        # The others may be waiting for this worker's share of a sum: Ray ends them all and starts them anew.
        raise failure
    if first:
        channel.put(f"{number}:end", pickle.dumps(None))


def _await(channel: Channel, key: str) -> bytes:
    while (message := channel.get(key)) is None:
        time.sleep(POLL_SECONDS)
    return message


def _first_open(channel: Channel) -> int:
    """Number of the trial that is being trained, or of the next one."""
    number = 0
    while channel.get(f"{number}:end") is not None:
        number += 1
    return number


def _already_told(channel: Channel, number: int) -> tuple[int, int]:
    """How many epochs of a trial the leader has answered, and the number of the last of them."""
    told, epoch = 0, 0
    while channel.get(f"{number}:{told}:word") is not None:
        epoch = int(json.loads(channel.get(f"{number}:{told}") or b'{"epoch": 0}')["epoch"])
        told += 1
    return told, epoch


def _count_loss(channel: Channel, allowed: int) -> None:
    """Where these workers replace lost ones, give the trial up if that has happened more often than allowed."""
    doing = channel.get("doing")
    if doing is None or channel.get(f"{int(doing)}:end") is not None:
        return
    number = int(doing)
    if channel.get(f"{number}:stop") is not None:
        # It was to end anyway.
        channel.put(f"{number}:end", pickle.dumps(None))
        return
    losses = int(channel.get(f"{number}:losses") or b"0") + 1
    channel.put(f"{number}:losses", str(losses).encode())
    if 0 <= allowed < losses:
        failure = TrainingError(f"its workers were lost {losses} times", "give them more memory, or look at their logs")
        channel.put(f"{number}:end", pickle.dumps(failure))
