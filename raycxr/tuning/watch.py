"""What happens in Ray Tune, entered on the board, in the records of the runs, and in storage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.exceptions import RayActorError

from raycxr.config.sections import Config
from raycxr.config.tracking import TrackingSection
from raycxr.errors import ConfigurationError, RaycxrError, StorageError, TrainingError
from raycxr.runs.record import RECORD, finish_record, read_record, start_record
from raycxr.runs.sweep import ENDED
from raycxr.runs.sweep_record import note_sweep
from raycxr.storage.location import Location
from raycxr.training.mlflow_run import end_mlflow_run
from raycxr.tuning.board import Board, Row
from raycxr.tuning.capacity import Room
from raycxr.tuning.display import SweepDisplay
from raycxr.tuning.keeper import Keeper
from raycxr.tuning.queue import Order, trial_config

# How often room is made in storage and the time spent is entered. Files of a trial that ended less than so long ago may
# still be written.
TIDY_SECONDS = 60.0


class Budget:
    """Time that a sweep may take: since its first call, or in hours of one GPU."""

    def __init__(self, config: Config, board: Board, earlier: float) -> None:
        self.config, self.board, self.earlier = config, board, earlier
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds over all calls."""
        return self.earlier + time.monotonic() - self.started

    def spent(self) -> str | None:
        """Which limit is reached, if one is."""
        section, resources = self.config.tune, self.config.resources
        if section.hours is not None and self.seconds >= 3600 * section.hours:
            return f"tune.hours = {section.hours:g}"
        gpus = resources.most_workers * resources.gpus_per_worker
        if section.gpu_hours is not None and self.board.training_seconds * gpus >= 3600 * section.gpu_hours:
            return f"tune.gpu_hours = {section.gpu_hours:g}"
        return None


class BudgetStopper(tune.Stopper):  # type: ignore[misc]
    """Ends a sweep whose budget is spent; its trials stop after the epoch that they are in."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune writes what it is given to its notes, which no sweep is resumed from."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial ends by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether nothing goes on."""
        return self.budget.spent() is not None


class SweepWatch(tune.Callback):  # type: ignore[misc]
    """Follows the trials of a sweep.

    Parameters
    ----------
    sweep : Location
        Folder of the sweep.
    config : Config
        What all trials share.
    dataset : mapping
        Their films, as records have them.
    board, display, keeper, budget
        Where it is entered.
    room : Room
        Whether the cluster still has room.
    """

    def __init__(
        self,
        sweep: Location,
        config: Config,
        dataset: Mapping[str, Any],
        board: Board,
        display: SweepDisplay,
        keeper: Keeper,
        budget: Budget,
        room: Room,
    ) -> None:
        self.sweep, self.config, self.dataset = sweep, config, dataset
        self.board, self.display, self.keeper, self.budget, self.room = board, display, keeper, budget, room
        self.tidied = time.monotonic()
        self.ended: dict[str, float] = {}
        self.has_told = False

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune writes what it is given to its notes, which no sweep is resumed from."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A process has taken a trial up."""
        order = Order(**trial.config)
        row = self.board.rows.get(order.name)
        if row is None or row.status != "running":
            row = self.board.add(order, self._epochs(order))
            row.status = "running"
            self.display.begin(row)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch of a trial has ended, or all of it."""
        if "ends_sweep" in result:
            raise TrainingError(result["ends_sweep"], "set storage.uri to s3:// or to a folder that all nodes share")
        if "untracked" in result:
            self.tell_once(result["untracked"])
        row = self._row(trial)
        row.epoch, row.value, row.latest = result["epoch"], result.get("value"), result.get("latest")
        row.parameters = dict(trial.config["parameters"])
        if "ended" in result:
            row.status, row.reason = result["ended"], result["reason"]
        else:
            row.seconds.append(float(result["seconds"]))
            self.display.epoch(row)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has come to its end, or was ended."""
        row = self._row(trial)
        if row.status not in ENDED:
            spent = self.budget.spent()
            row.status = "stopped" if spent is None else "interrupted"
            row.reason = f"by {self.config.tune.scheduler}" if spent is None else f"{spent} was spent"
            self._record(row)
        elif row.status == "failed":
            self._record(row)
        self._close(row)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The process of a trial was lost more often than allowed."""
        row = self._row(trial)
        row.status, row.reason = "failed", _why_lost(trial)
        self._record(row)
        self._close(row)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Now and then, make room in storage and enter the time spent.

        Raises
        ------
        InterruptionError
            The cluster has had no room for a trial for too long.
        """
        self.room.check()
        now = time.monotonic()
        if now - self.tidied >= TIDY_SECONDS:
            self.tidied = now
            try:
                self.keeper.tidy({name for name, ended in self.ended.items() if now - ended < TIDY_SECONDS})
                note_sweep(self.sweep, self.budget.seconds)
            except StorageError as error:  # it is done again in a minute
                self.display.tell(str(error))

    def tell_once(self, line: str) -> None:
        """Say that the server of MLflow does not take a trial; of the others it is not said again."""
        if not self.has_told:
            self.display.tell(line)
        self.has_told = True

    def _row(self, trial: Any) -> Row:
        order = Order(**trial.config)
        row = self.board.rows.get(order.name)
        if row is None or row.status == "interrupted":
            row = self.board.add(order, self._epochs(order))
        return row

    def _epochs(self, order: Order) -> int:
        """Epochs of a trial in full."""
        try:
            return trial_config(self.config, order).train.epochs
        except ConfigurationError:  # its first step tells it
            return self.config.train.epochs

    def _close(self, row: Row) -> None:
        self.ended[row.name] = time.monotonic()
        self.display.end(row)

    def _record(self, row: Row) -> None:
        """Enter how a trial ended that could not do so itself."""
        run = self.sweep / row.name
        try:
            if row.status == "failed" and not (run / RECORD).exists():
                # It was given up before it could claim its folder.
                train = self.config.train.model_copy(update={"name": row.name})
                trial = {"candidate": row.candidate, "member": row.member, "parameters": row.parameters}
                config = self.config.model_copy(update={"train": train})
                start_record(run, config, self.dataset, self.config.resources.workers, True, trial)
            if (run / RECORD).exists():
                finish_record(run, row.status, row.reason)
                if row.status == "failed":
                    # One that was stopped does so itself, once the files of its last epoch are written.
                    end_mlflow_run(run, self.config.tracking, self.tell_once, row.status, row.reason)
        except StorageError as error:  # the other trials go on; a sweep that is resumed takes this one up again
            self.display.tell(str(error))


def _why_lost(trial: Any) -> str:
    """Why Ray Tune gave a trial up, in one line."""
    error, times = trial.get_pickled_error(), trial.run_metadata.num_failures
    lost = error is None or (isinstance(error, RayActorError) and "creation task" not in str(error))
    if lost:
        return f"its process was lost {'once' if times == 1 else f'{times} times'}, perhaps for want of memory"
    # The last line of what came with layers of Ray.
    return str(error).strip().splitlines()[-1]


def interrupt(sweep: Location, tracking: TrackingSection, board: Board, tell: Any) -> None:
    """Enter that trials which have not ended wait for the sweep to go on."""
    is_tracked = True
    for row in board.all:
        if row.status in ("running", "waiting", "interrupted"):
            try:
                if (sweep / row.name / RECORD).exists() and read_record(sweep / row.name)["status"] == "running":
                    finish_record(sweep / row.name, "interrupted")
                    # A server that is away is asked, and told of, once.
                    is_tracked = is_tracked and end_mlflow_run(sweep / row.name, tracking, tell, "interrupted")
            except RaycxrError as error:
                tell(f"{row.name}: {error.message}")
