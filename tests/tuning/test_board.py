"""How far a sweep is: who leads, what is left, and what it has cost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from made_sweep import MadeSweep, MadeTrial, write_sweep

from raycxr.runs.metric import Mode
from raycxr.runs.sweep import ranked, read_trials
from raycxr.storage.location import Location
from raycxr.tuning.board import Board
from raycxr.tuning.queue import Order

NAN = float("nan")


def entered(
    board: Board, candidate: int, value: float | None, status: str = "finished", member: int = 0, epoch: int = 4
) -> None:
    """Enter a trial as far as it is; of candidates with several trials they are seeds."""
    name = None if board.members == 1 else f"seed {member}"
    row = board.add(Order(candidate, member, name, {"optimizer.lr": 0.1}), 10)
    row.status, row.value, row.epoch, row.seconds = status, value, epoch, [2.0] * epoch


def leaders(board: Board) -> list[int]:
    return [rows[0].candidate for _, rows in board.ranked()]


@pytest.mark.parametrize(("mode", "order"), [("max", [3, 0, 2]), ("min", [2, 0, 3])])
def test_candidates_with_a_value_are_ranked(mode: Mode, order: list[int]) -> None:
    board = Board("dice.mean", mode, 1)
    for number, (value, status) in enumerate(
        [(0.5, "finished"), (0.99, "failed"), (0.4, "stopped"), (0.7, "running"), (None, "running")]
    ):
        entered(board, number, value, status)
    assert leaders(board) == order


def test_a_candidate_counts_once_all_its_trials_have_a_value() -> None:
    board = Board("dice.mean", "max", 2)
    entered(board, 0, 0.9)
    entered(board, 1, 0.6)
    entered(board, 1, 0.4, member=1)
    assert board.ranked()[0][0] == 0.5
    assert leaders(board) == [1]
    entered(board, 0, 0.3, "running", member=1)
    assert [value for value, _ in board.ranked()] == [pytest.approx(0.6), 0.5]
    entered(board, 0, 0.3, "failed", member=1)
    assert leaders(board) == [1]


def test_time_left_and_time_spent() -> None:
    board = Board("dice.mean", "max", 1)
    assert board.seconds_left(50, 2) is None
    entered(board, 0, 0.5, "finished", epoch=10)
    entered(board, 1, 0.5, "running", epoch=4)
    entered(board, 2, None, "waiting", epoch=0)
    # 6 and 10 epochs of those begun, 50 of five to come, 2 seconds each, on two places.
    assert board.seconds_left(50, 2) == 66
    assert board.seconds_left(0, 0) == 32
    assert board.training_seconds == 28
    assert [board.count(status) for status in ("finished", "running", "waiting", "failed")] == [1, 1, 1, 0]


def test_a_sweep_that_goes_on_is_entered_as_its_records_say(tmp_path: Path) -> None:
    made = [
        MadeTrial(0, {"optimizer.lr": 0.1}, [0.5, NAN, 0.7], seconds=6),
        MadeTrial(1, {"optimizer.lr": 0.2}, [0.9, 0.8], "running", epochs=5, seconds=4),
        MadeTrial(2, {"optimizer.lr": 0.3}, [0.4], "failed", "no memory", seconds=1),
        MadeTrial(3, {"optimizer.lr": 0.4}, [], "interrupted", epochs=5),
    ]
    write_sweep(Location(tmp_path), MadeSweep(made))
    trials = read_trials(Location(tmp_path))
    board = Board("dice.mean", "max", 1)
    board.add_earlier(trials)
    rows = board.all
    assert [row.status for row in rows] == ["finished", "interrupted", "failed", "interrupted"]
    assert [(row.epoch, row.epochs, row.value) for row in rows] == [(3, 3, 0.7), (2, 5, 0.9), (1, 1, 0.4), (0, 5, None)]
    assert rows[2].reason == "no memory"
    assert board.training_seconds == pytest.approx(11)
    # What waits to be given again is counted by the queue.
    assert board.seconds_left(10, 1) == pytest.approx(2 * 5 * 11 / 6)
    assert leaders(board) == [candidate.number for candidate in ranked(trials, "dice.mean", "max")] == [1, 0]


def test_one_that_goes_on_keeps_its_row() -> None:
    board = Board("dice.mean", "max", 1)
    order = Order(0, 0, None, {"optimizer.lr": 0.1})
    entered(board, 0, 0.5, "interrupted", epoch=4)
    row = board.add(order, 10)
    assert board.all == [row]
    assert (row.status, row.epoch, row.value) == ("waiting", 4, 0.5)


def test_one_that_rests_is_soon_there() -> None:
    board = Board("dice.mean", "max", 1)
    row = board.add(Order(0, 0, None, {"optimizer.lr": 0.1}, 3), 10)
    row.status, row.epoch, row.seconds = "running", 1, [2.0]
    assert board.seconds_left(0, 1) == 4
    row.status, row.reason = "stopped", "at a rung"
    assert board.seconds_left(0, 1) == 0
    assert board.add(Order(0, 0, None, {"optimizer.lr": 0.1}, None), 10) is row
    assert board.seconds_left(0, 1) == 18
    assert row.reason is None


def test_rows_are_counted_while_others_are_added() -> None:
    board = Board("dice.mean", "max", 1)
    done = threading.Event()

    def add() -> None:
        for number in range(20_000):
            board.rows[str(number)] = board.add(Order(number % 7, 0, None, {}), 1)
        done.set()

    adding = threading.Thread(target=add)
    adding.start()
    while not done.is_set():
        board.count("waiting")
        assert board.seconds_left(1, 1) is None
    adding.join()
