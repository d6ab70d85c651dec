"""A sweep in a table of a narrow terminal, and line by line where there is none."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from raycxr.tuning.board import Board
from raycxr.tuning.display import MOST_ROWS, SweepDisplay
from raycxr.tuning.queue import Order

KEYS = ["model.name", "model.encoder", "loss", "optimizer.lr"]
UNET = {
    "model.name": "unet",
    "model.encoder": "resnet34",
    "loss": {"bce": 1.0, "dice": 1.0},
    "optimizer.lr": 3.04e-4,
}
CLASSIC = {"model.name": "classic_unet", "loss": {"tversky": 1.0}, "optimizer.lr": 0.01}


def enter(board: Board, number: int, status: str, value: float | None, epoch: int, member: str | None = None) -> None:
    row = board.add(Order(number, 0, member, UNET if number % 2 == 0 else CLASSIC), 40)
    row.status, row.value, row.epoch = status, value, epoch


def display_of(board: Board, seconds: float | None = None) -> SweepDisplay:
    return SweepDisplay(board, KEYS, lambda: seconds)


def drawn(display: SweepDisplay, width: int = 80) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(display.table(width))
    return text.getvalue().splitlines()


def test_the_table_fits_a_narrow_terminal() -> None:
    board = Board("dice.mean", "max", 1)
    enter(board, 0, "finished", 0.9123, 40)
    enter(board, 1, "stopped", 0.4, 6)
    enter(board, 2, "running", 0.95, 12)
    enter(board, 3, "waiting", None, 0)
    lines = drawn(display_of(board, 3700))
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("1 finished, 1 stopped, 1 running, 1 waiting")
    assert "about 1 h 2 min left" in " ".join(lines[:2])
    text = "\n".join(lines)
    assert lines[1].split() == ["trial", "model", "encoder", "loss", "lr", "epoch", "dice.mean", "state"], text
    assert [line.split() for line in lines[2:]] == [
        ["trial_002", "unet", "resnet34", "bce+dice", "0.000304", "12/40", "0.9500", "running"],
        ["trial_000", "unet", "resnet34", "bce+dice", "0.000304", "40/40", "0.9123", "finished"],
        ["trial_001", "classic_unet", "tversky", "0.01", "6/40", "0.4000", "stopped"],
        ["trial_003", "classic_unet", "tversky", "0.01", "0/40", "-", "waiting"],
    ], text


def test_parameters_without_room_are_left_out_and_nothing_else_is_cut() -> None:
    board = Board("dice.left clavicle", "max", 3)
    parameters = {f"section.key_{number}": "a long value" for number in range(12)} | {"optimizer.lr": 0.5}
    row = board.add(Order(12, 2, "fold 3", parameters), 100)
    row.status, row.value, row.epoch = "interrupted", 0.0123, 100
    lines = drawn(SweepDisplay(board, list(parameters), lambda: None))
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "trial key_0 lr epoch dice.left clavicle state",
        "trial_012_fold_3 a long value 0.5 100/100 0.0123 interrupted",
    ]


def test_a_long_value_leaves_room_for_others() -> None:
    board = Board("loss", "min", 1)
    loss = {"bce": 0.25, "focal_tversky": 0.5, "lovasz": 0.125}
    board.add(Order(0, 0, None, {"loss": loss, "optimizer.lr": 0.5}), 3)
    assert "0.25 bce+0.5 focal_tver… 0.5" in drawn(SweepDisplay(board, ["loss", "optimizer.lr"], lambda: None))[2]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_many_trials_those_at_work_and_the_best_are_shown(mode: str) -> None:
    board = Board("dice.mean", "max" if mode == "max" else "min", 1)
    for number in range(40):
        enter(board, number, "finished", number / 100, 40)
    enter(board, 40, "running", 0.2, 3)
    enter(board, 41, "waiting", None, 0)
    shown = [line.split()[0] for line in drawn(display_of(board)) if "trial_0" in line]
    assert len(shown) == MOST_ROWS
    assert {"trial_040", "trial_041"} <= set(shown)
    assert shown[0] == ("trial_039" if mode == "max" else "trial_000")
    assert shown[-1] == "trial_041"


def test_an_empty_board_can_be_shown() -> None:
    assert "no trial yet" in "\n".join(drawn(display_of(Board("loss", "min", 1))))


def test_line_by_line_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board("dice.mean", "max", 1)
    with display_of(board, 90.0) as display:
        enter(board, 0, "running", None, 0)
        row = board.all[0]
        display.begin(row)
        row.epoch, row.value, row.latest = 1, 0.51234, 0.41234
        display.epoch(row)
        row.status, row.reason = "stopped", "by median"
        display.end(row)
        display.tell("[bold] is not markup")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "trial_000  model unet  encoder resnet34  loss bce+dice  lr 0.000304",
        "trial_000  epoch 1/40  dice.mean 0.4123  about 1 min 30 s left",
        "trial_000  stopped after 1 epoch, best dice.mean 0.5123: by median",
        "[bold] is not markup",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_lives_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("raycxr.tuning.display.REFRESH_SECONDS", 0.01)
    board = Board("dice.mean", "max", 1)
    with display_of(board, 90.0) as display:
        enter(board, 0, "running", 0.5, 3)
        display.begin(board.all[0])
        display.epoch(board.all[0])
        display.tell("[bold] is not markup")
        until = time.monotonic() + 10
        while "3/40" not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    text = terminal.getvalue()
    assert "[bold] is not markup" in text
    # What the table shows is not said in lines as well.
    assert "3/40" in text
    assert "epoch 3/40" not in text
    assert not display.thread.is_alive()


def test_nothing_is_left_of_the_time_once_nothing_is_to_come(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board("dice.mean", "max", 1)
    enter(board, 1, "running", None, 3)
    with display_of(board, 0.0) as display:
        display.epoch(board.all[0])
        display.end(board.all[0])
    assert capsys.readouterr().err.splitlines() == [
        "trial_001  epoch 3/40  dice.mean -",
        "trial_001  running after 3 epochs, best dice.mean -",
    ]
