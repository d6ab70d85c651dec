"""Losers give their weights up, and nothing that may still win or that tells what happened."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import pytest

from raycxr.config.sections import Config
from raycxr.runs.bundle import MARKER, write_bundle
from raycxr.runs.record import BEST, CHECKPOINT, RECORD, STATE_FILE, read_history, start_record, write_history
from raycxr.runs.sweep import ENDED
from raycxr.storage.location import Location
from raycxr.tuning.board import Board
from raycxr.tuning.keeper import Keeper, take_weights
from raycxr.tuning.queue import Order

DATASET = {"uri": "/data", "id": "abc", "classes": ["lungs"], "splits": {"train": 3}}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    monkeypatch.setenv("RAYCXR_GIT_REVISION", "made")  # git need not be asked for each trial
    return Location(tmp_path / "sweep")


def keeper_of(
    sweep: Location, keep: Literal["best", "all"] = "best", members: int = 1, may_go_on: Collection[int] = ()
) -> Keeper:
    return Keeper(sweep, Board("dice.mean", "max", members), keep, lambda candidate: candidate in may_go_on)


def write_trial(keeper: Keeper, candidate: int, value: float | None, status: str, member: int = 0) -> str:
    """Leave what a trial leaves, and enter it."""
    order = Order(candidate, member, None if keeper.board.members == 1 else f"seed {member}", {})
    row = keeper.board.add(order, 3)
    row.value, row.status = value, status
    run = keeper.sweep / order.name
    if not (run / RECORD).exists():
        start_record(run, Config(), DATASET, 1)
        write_history(run, [{"epoch": 1, "validation": {"dice": {"mean": value}}, "best": True, "seconds": 1.0}])
        for number in (1, 2):
            (run / f"{CHECKPOINT}{number}" / STATE_FILE).write_text("state")
        write_bundle(run / BEST, b"weights", "model: {}\n", {"epoch": 1, "metrics": {}}, {}, "made")
    return order.name


def with_weights(sweep: Location) -> set[str]:
    """Runs that have a whole bundle and their checkpoints; a half of it is nowhere."""
    found = set()
    for run in sweep.list():
        bundle, checkpoints = (run / BEST / MARKER).exists(), [p for p in run.list() if p.name.startswith(CHECKPOINT)]
        assert bundle == bool(checkpoints) == (run / BEST).exists()
        assert (run / RECORD).exists()
        assert len(read_history(run)) == 1
        if bundle:
            found.add(run.name)
    return found


def test_the_winner_and_what_is_not_decided_keep_their_weights(sweep: Location) -> None:
    keeper = keeper_of(sweep)
    statuses = ["finished", "stopped", "failed", "running", "interrupted", "waiting", "finished"]
    for number, (status, value) in enumerate(zip(statuses, (0.5, 0.4, 0.95, 0.3, 0.2, None, 0.6), strict=True)):
        write_trial(keeper, number, value, status)
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_003", "trial_004", "trial_005", "trial_006"}
    keeper.tidy(set())
    # The one that led is beaten.
    write_trial(keeper, 3, 0.7, "finished")
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_003", "trial_004", "trial_005"}


def test_a_leader_that_is_still_trained_may_fail(sweep: Location) -> None:
    keeper = keeper_of(sweep)
    write_trial(keeper, 0, 0.8, "finished")
    write_trial(keeper, 1, 0.9, "running")
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_000", "trial_001"}
    write_trial(keeper, 1, 0.9, "failed")
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_000"}


def test_files_that_may_still_be_written_are_left(sweep: Location) -> None:
    keeper = keeper_of(sweep)
    for number in range(3):
        write_trial(keeper, number, 0.5 + number / 10, "finished")
    keeper.tidy({"trial_000"})
    assert with_weights(sweep) == {"trial_000", "trial_002"}
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_002"}


def test_candidates_of_several_seeds_stay_or_go_whole(sweep: Location) -> None:
    keeper = keeper_of(sweep, members=2)
    for member in (0, 1):
        write_trial(keeper, 0, 0.5, "finished", member)
    write_trial(keeper, 1, 0.9, "finished")
    write_trial(keeper, 2, 0.8, "stopped")
    keeper.tidy(set())
    # A second seed of candidate 1 is to come; of candidate 2 it was spared.
    assert with_weights(sweep) == {"trial_000_seed_0", "trial_000_seed_1", "trial_001_seed_0"}
    write_trial(keeper, 1, 0.2, "finished", 1)
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_001_seed_0", "trial_001_seed_1"}


def test_everything_is_kept_where_that_was_asked_for(sweep: Location) -> None:
    keeper = keeper_of(sweep, "all")
    names = {write_trial(keeper, number, number / 10, "finished") for number in range(3)}
    keeper.tidy(set())
    assert with_weights(sweep) == names


def test_a_trial_that_never_began_has_nothing_to_take(sweep: Location) -> None:
    keeper = keeper_of(sweep)
    write_trial(keeper, 0, 0.5, "finished")
    row = keeper.board.add(Order(1, 0, None, {}), 3)
    row.status = "failed"
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_000"}
    take_weights(sweep / "nowhere")


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_the_winner_is_still_there(sweep: Location, seed: int) -> None:
    draw = random.Random(seed)
    keeper = keeper_of(sweep)
    values = {number: round(draw.random(), 3) for number in range(8)}
    waiting, running = list(values), list[int]()
    while waiting or running:
        if waiting and (len(running) < 3 or draw.random() < 0.3):
            running.append(waiting.pop(0))
            write_trial(keeper, running[-1], values[running[-1]], "running")
        else:
            number = running.pop(draw.randrange(len(running)))
            write_trial(keeper, number, values[number], draw.choice(["finished", "finished", "stopped", "failed"]))
        keeper.tidy(set())
        rows = keeper.board.all
        well = [row for row in rows if row.status in ("finished", "stopped")]
        kept = {row.name for row in rows if row.status not in ENDED}
        best = max(well, key=lambda row: row.value or 0.0, default=None)
        assert with_weights(sweep) == kept | ({best.name} if best else set())


def test_one_that_rests_keeps_its_weights_while_it_may_go_on(sweep: Location) -> None:
    may_go_on = {1, 3}
    keeper = keeper_of(sweep, may_go_on=may_go_on)
    write_trial(keeper, 0, 0.9, "finished")
    for candidate in (1, 2):
        write_trial(keeper, candidate, 0.5, "stopped")
    write_trial(keeper, 3, 0.5, "failed")
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_000", "trial_001"}
    may_go_on.clear()
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_000"}


def test_one_that_goes_on_after_its_weights_were_taken_loses_them_once_more(sweep: Location) -> None:
    keeper = keeper_of(sweep)
    write_trial(keeper, 0, 0.9, "finished")
    name = write_trial(keeper, 1, 0.5, "stopped")
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_000"}
    keeper.board.rows[name].status = "running"
    keeper.tidy(set())
    for number in (1, 2):
        (sweep / name / f"{CHECKPOINT}{number}" / STATE_FILE).write_text("state")
    write_bundle(sweep / name / BEST, b"weights", "model: {}\n", {"epoch": 1, "metrics": {}}, {}, "made")
    assert with_weights(sweep) == {"trial_000", "trial_001"}
    keeper.board.rows[name].status = "stopped"
    keeper.tidy(set())
    assert with_weights(sweep) == {"trial_000"}
