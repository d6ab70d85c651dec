"""What Ray Tune tells of trials, and what becomes of it on the board and in the records."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.errors import TrainingError
from raycxr.runs.record import read_record, start_record
from raycxr.runs.sweep import read_trials
from raycxr.runs.sweep_record import start_sweep
from raycxr.storage.location import Location
from raycxr.training.run import describe_dataset
from raycxr.tuning.board import Board
from raycxr.tuning.capacity import Room, Share
from raycxr.tuning.display import SweepDisplay
from raycxr.tuning.keeper import Keeper
from raycxr.tuning.queue import Order
from raycxr.tuning.watch import Budget, SweepWatch, interrupt

RATE = "tune.space={optimizer.lr: [0.1, 0.2]}"


@dataclass
class Told:
    """A trial as far as Ray Tune shows it."""

    order: Order
    run_metadata: Any = field(default_factory=lambda: SimpleNamespace(num_failures=1))

    @property
    def config(self) -> dict[str, Any]:
        return self.order.describe()

    def get_pickled_error(self) -> BaseException | None:
        return None


def watch_of(phantom_config: Path, tmp_path: Path, *overrides: str) -> SweepWatch:
    config = load_config(phantom_config, [RATE, "tune.scheduler=median", "train.epochs=7", *overrides])
    sweep, board = Location(tmp_path / "sweep"), Board("dice.mean", "max", 1)
    dataset = describe_dataset(open_splits(config))
    start_sweep(sweep, config, dataset, "dice.mean", "max")
    return SweepWatch(
        sweep, config, dataset, board, SweepDisplay(board, ["optimizer.lr"], lambda: None),
        Keeper(sweep, board, "best", lambda candidate: False), Budget(config, board, 0.0),
        Room(Share(1, 1, 0), 1, print),
    )  # fmt: skip


def begin(watch: SweepWatch, told: Told) -> None:
    """A process takes a trial up, and claims its folder."""
    watch.on_trial_start(1, [], told)
    start_record(watch.sweep / told.order.name, watch.config, watch.dataset, 1, True, told.order.record)


def statuses(watch: SweepWatch) -> dict[str, tuple[str, str | None]]:
    return {trial.location.name: (trial.status, trial.reason) for trial in read_trials(watch.sweep)}


def test_a_trial_that_the_scheduler_stops(phantom_config: Path, tmp_path: Path) -> None:
    watch, told = watch_of(phantom_config, tmp_path), Told(Order(0, 0, None, {"optimizer.lr": 0.1}))
    begin(watch, told)
    watch.on_trial_result(1, [], told, {"epoch": 1, "value": 0.4, "seconds": 2.0})
    watch.on_trial_complete(1, [], told)
    assert statuses(watch) == {"trial_000": ("stopped", "by median")}
    row = watch.board.rows["trial_000"]
    assert (row.status, row.epoch, row.epochs, row.seconds) == ("stopped", 1, 7, [2.0])


def test_a_trial_that_rests_and_goes_on(
    phantom_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch, told = watch_of(phantom_config, tmp_path), Told(Order(0, 0, None, {"optimizer.lr": 0.1}, 2))
    begin(watch, told)
    assert watch.board.rows["trial_000"].until == 2
    watch.on_trial_result(1, [], told, {"epoch": 2, "value": 0.4, "ended": "stopped", "reason": "by asha"})
    watch.on_trial_complete(1, [], told)
    row = watch.board.rows["trial_000"]
    assert (row.status, row.reason) == ("stopped", "by asha")
    watch.on_trial_start(1, [], Told(Order(0, 0, None, {"optimizer.lr": 0.1})))
    assert watch.board.rows == {"trial_000": row}
    assert (row.status, row.reason, row.epoch, row.until) == ("running", None, 2, 7)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["trial_000  lr 0.1", "trial_000  rests after 2 epochs, best dice.mean 0.4000: by asha",
                     "trial_000  lr 0.1  goes on after 2 epochs"]  # fmt: skip


@pytest.mark.parametrize("parameters", [{"optimizer.lr": 0.1}, {"optimizer.lr": -1.0}, {"train.epochs": 0}])
def test_a_trial_that_fails_before_it_claims_its_folder(
    phantom_config: Path, tmp_path: Path, parameters: dict[str, Any]
) -> None:
    """Also one whose parameters the configuration refuses: the sweep goes on, and lists it."""
    watch, told = watch_of(phantom_config, tmp_path), Told(Order(3, 0, None, parameters))
    watch.on_trial_start(1, [], told)
    watch.on_trial_result(1, [], told, {"epoch": 0, "ended": "failed", "reason": "refused"})
    watch.on_trial_complete(1, [], told)
    assert statuses(watch) == {"trial_003": ("failed", "refused")}
    record = read_record(watch.sweep / "trial_003")
    assert record["trial"] == {"candidate": 3, "member": None, "parameters": parameters}
    assert record["config"]["train"]["name"] == "trial_003"


def test_a_trial_whose_process_is_lost_too_often(phantom_config: Path, tmp_path: Path) -> None:
    watch, told = watch_of(phantom_config, tmp_path), Told(Order(0, 0, None, {"optimizer.lr": 0.1}))
    begin(watch, told)
    watch.on_trial_error(1, [], told)
    reason = "its process was lost once, perhaps for want of memory"
    assert statuses(watch) == {"trial_000": ("failed", reason)}
    assert watch.board.rows["trial_000"].status == "failed"


def test_a_sweep_that_no_worker_sees_ends(phantom_config: Path, tmp_path: Path) -> None:
    watch, told = watch_of(phantom_config, tmp_path), Told(Order(0, 0, None, {"optimizer.lr": 0.1}))
    watch.on_trial_start(1, [], told)
    with pytest.raises(TrainingError, match=r"a worker cannot see .* - set storage.uri to s3://"):
        watch.on_trial_result(1, [], told, {"epoch": 0, "ends_sweep": "a worker cannot see it"})


def test_trials_that_a_spent_budget_ends_wait(phantom_config: Path, tmp_path: Path) -> None:
    watch = watch_of(phantom_config, tmp_path, "tune.hours=1e-9")
    told = Told(Order(0, 0, None, {"optimizer.lr": 0.1}))
    begin(watch, told)
    watch.on_trial_complete(1, [], told)
    assert statuses(watch) == {"trial_000": ("interrupted", "tune.hours = 1e-09 was spent")}


def test_an_interruption_is_entered_where_trials_ran(phantom_config: Path, tmp_path: Path) -> None:
    watch = watch_of(phantom_config, tmp_path)
    done, running, unclaimed = (Told(Order(number, 0, None, {"optimizer.lr": 0.1})) for number in range(3))
    begin(watch, done)
    watch.on_trial_complete(1, [], done)
    begin(watch, running)
    watch.on_trial_start(1, [], unclaimed)
    interrupt(watch.sweep, watch.config.tracking, watch.board, print)
    assert statuses(watch) == {"trial_000": ("stopped", "by median"), "trial_001": ("interrupted", None)}
