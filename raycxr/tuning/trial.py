"""One trial at a time in a process of Ray Tune that is kept from trial to trial, so that torch and the shards stay.

A trial is an ordinary run. It goes on from its own checkpoints, whatever became of the process that began it.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

from ray import tune

from raycxr.config.sections import Config
from raycxr.errors import RaycxrError, StorageError, TrainingError, first_line
from raycxr.runs.metric import Mode, default_mode, metric_value
from raycxr.runs.record import RECORD, finish_record, read_history
from raycxr.runs.sweep import is_sweep
from raycxr.storage.location import Location
from raycxr.training.mlflow_run import end_mlflow_run
from raycxr.training.ray_metrics import RayGauges
from raycxr.tuning.exchange import take_over
from raycxr.tuning.queue import Order, trial_config
from raycxr.tuning.worker_group import WorkerGroup

POINTER = "pointer.json"
AT_A_RUNG = "by asha"


class UnseenSweepError(TrainingError):
    """The node of a trial does not have the folder of the sweep."""


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """Trains what it is told epoch by epoch.

    A result has `epoch`, `curve` (the value of each epoch), and where they are defined `value` (the best of them) and
    `latest` (the last one). That of an epoch also has `seconds` and `last` (whether no further one comes), and the one
    after the last epoch `ended` (`finished`, `failed`, or `stopped` where it rests) and `reason`. Where no trial
    can go on, `ends_sweep` says why.
    """

    base: Config
    dataset_id: str
    mode: Mode
    cpus: int
    order: Order
    settings: Config
    run: Location
    epochs: Generator[dict[str, Any], None, object] | None
    curve: list[float]
    # Run whose weights the next step starts from, and the workers where a trial has several.
    donor: dict[str, Any] | None
    group: WorkerGroup | None
    gauges: RayGauges | None

    def setup(self, config: dict[str, Any], base: dict[str, Any], dataset_id: str, mode: Mode, cpus: int) -> None:
        """Prepare the first trial.

        Parameters
        ----------
        config : dict
            The trial, as `raycxr.tuning.queue.Order.describe` puts it.
        base : dict
            Configuration that all trials share.
        dataset_id : str
            Of the films that the sweep was begun on.
        mode : {"max", "min"}
            Which way the metric is better.
        cpus : int
            CPUs of a worker.
        """
        import torch

        from raycxr.training.allocator import keep_freed_memory

        if not torch.cuda.is_available():
            keep_freed_memory()
        self.base, self.dataset_id, self.mode, self.cpus = Config.model_validate(base), dataset_id, mode, cpus
        self.epochs, self.donor, self.group, self.gauges = None, None, None, None
        self._take(config)

    def step(self) -> dict[str, Any]:
        """Train one epoch."""
        try:
            if self.epochs is None:
                self.epochs = self._begin()
            if self._rests():
                # First the checkpoint that it goes on from is written to its end.
                self.epochs.close()
                return self._last("stopped", AT_A_RUNG)
            entry = next(self.epochs)
        except StopIteration:
            return self._last("finished", None)
        except StorageError:
            raise  # Ray Tune tries it again, and it goes on from its last checkpoint
        except UnseenSweepError as error:
            # So it would be with every further trial.
            return {"ends_sweep": error.message, "done": True, **self._so_far()}
        except RaycxrError as error:
            return self._last("failed", error.message)
        except Exception as error:  # such as no memory: the sweep goes on without this trial
            return self._last("failed", f"{type(error).__name__}: {first_line(error)}")
        return self._result(entry)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tell Ray Tune where the weights are: in the run's own checkpoint."""
        (Path(checkpoint_dir) / POINTER).write_text(json.dumps({"run": self.run.uri, "number": uuid4().hex}))

    def load_checkpoint(self, checkpoint: str | None) -> None:
        """Go on from where another trial is; from its own checkpoints it goes on by itself."""
        assert checkpoint is not None
        self.donor = json.loads((Path(checkpoint) / POINTER).read_text())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leave the trial, which has ended or is paused, and take up the next one."""
        self._leave()
        self._take(new_config)
        return True

    def cleanup(self) -> None:
        """Leave the last trial, and let further workers go."""
        self._leave()
        if self.group is not None:
            self.group.close()

    def _take(self, description: dict[str, Any]) -> None:
        self.order = Order(**description)
        self.run = Location(self.base.storage.uri) / self.order.name
        self.settings = self.base
        self.curve = []

    def _leave(self) -> None:
        """Bring the files of the last epoch to their end, and give memory back."""
        import torch

        epochs, self.epochs, self.donor = self.epochs, None, None
        if epochs is not None:
            try:
                epochs.close()
            except RaycxrError as error:  # the trial has ended, or goes on from an earlier checkpoint
                _tell(f"{self.order.name}: {error}")
            del epochs
            # Whether it goes on is for others to say; then it runs again.
            end_mlflow_run(self.run, self.settings.tracking, _tell, "stopped")
        if self.gauges is not None:
            self.gauges.rest()
        gc.collect()
        torch.cuda.empty_cache()

    def _begin(self) -> Generator[dict[str, Any], None, object]:
        from raycxr.training.run import claim_run

        # Here and not before: what is wrong with it is told by the first step.
        config = self.settings = trial_config(self.base, self.order)
        workers = config.resources.most_workers
        if not is_sweep(self.run.parent):
            raise UnseenSweepError(f"a worker cannot see the sweep {self.run.parent}")
        resume = (self.run / RECORD).exists()
        if resume and self.donor is not None and self.donor["run"] != self.run.uri:
            take_over(self.run, Location(self.donor["run"]), config, self.order.record, self.donor["number"])
        on_gpu = config.resources.gpus_per_worker > 0
        dataset = claim_run(config, self.run, workers, True, on_gpu, resume, self.order.record)
        if dataset["id"] != self.dataset_id:
            raise TrainingError(f"the data set is another one than when the sweep began: {dataset['uri']}")
        self.curve = self._recorded()
        if workers == 1:
            return self._train_here(resume)
        if self.group is None or not self.group.alive:
            self.group = WorkerGroup(config.resources, self.cpus)
        return self.group.train(config, self.run, resume)

    def _train_here(self, resume: bool) -> Generator[dict[str, Any], None, object]:
        """Train in this process, which has the resources of one worker."""
        from raycxr.training.loop import train_epochs
        from raycxr.training.progress import SilentProgress
        from raycxr.training.session import LocalSession

        train = self.settings.train
        session = LocalSession(self.run, train.num_to_keep, default_mode(train.metric), resume, SilentProgress())
        if self.settings.tracking.prometheus:
            session.gauges = self.gauges = RayGauges(f"{self.run.parent.name}/{self.run.name}", 0)
        return train_epochs(self.settings, self.run, session, self.cpus)

    def _rests(self) -> bool:
        """Whether it has come as far as it was told to, and that is not its end."""
        return len(self.curve) == self.order.until and len(self.curve) < self.settings.train.epochs

    def _result(self, entry: dict[str, Any]) -> dict[str, Any]:
        # The history may have been an epoch ahead of the checkpoint that the trial went on from.
        self.curve[entry["epoch"] - 1 :] = [metric_value(entry["validation"], self.settings.train.metric)]
        last = entry["epoch"] == self.settings.train.epochs
        return {"seconds": entry["seconds"], "last": last, **self._so_far()}

    def _recorded(self) -> list[float]:
        metric = self.settings.train.metric
        return [metric_value(entry["validation"], metric) for entry in read_history(self.run)]

    def _so_far(self) -> dict[str, Any]:
        defined = [value for value in self.curve if value == value]
        best = {"value": max(defined) if self.mode == "max" else min(defined)} if defined else {}
        latest = {"latest": self.curve[-1]} if defined and self.curve[-1] == self.curve[-1] else {}
        # The mean of the last epochs' weights stands after them, and is none.
        epoch = min(len(self.curve), self.settings.train.epochs)
        return {"epoch": epoch, "curve": list(self.curve), **best, **latest}

    def _last(self, ended: str, reason: str | None) -> dict[str, Any]:
        """Enter how the trial ended."""
        from raycxr.training.run import close_run

        self.epochs = None
        if ended == "finished":
            try:
                close_run(self.settings, self.run)
                # The mean of the last epochs' weights stands after them.
                self.curve = self._recorded()
            except StorageError:
                raise  # tried again, as above
            except RaycxrError as error:
                ended, reason = "failed", error.message
        elif (self.run / RECORD).exists():
            finish_record(self.run, ended, reason)
        untracked: list[str] = []
        if (self.run / RECORD).exists():
            end_mlflow_run(self.run, self.settings.tracking, untracked.append, ended, reason)
        told = {"untracked": untracked[0]} if untracked else {}
        return {"ended": ended, "reason": reason, "done": True, **told, **self._so_far()}


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
