"""A run that is broken off within an epoch goes on there, and ends with the same bits as one that was left alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.errors import DataError
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.prediction.snapshot import MID_EPOCH
from raycxr.runs.bundle import read_bundle
from raycxr.runs.record import BEST, MID_EPOCH_CHECKPOINT, STATE_FILE, read_history
from raycxr.storage.location import Location
from raycxr.training.loop import run_training
from raycxr.training.progress import SilentProgress
from raycxr.training.run import claim_run
from raycxr.training.session import LocalSession

LEARNED = ("epoch", "lr", "train", "validation", "best")
# Four steps an epoch, of two forward passes of two films each.
SETTINGS = ["train.epochs=3", "train.batch_size=4", "train.accumulate=2", "train.ema_decay=0.9", "train.swa_epochs=2",
            "model.dropout=0.5", "optimizer.lr=0.05", "schedule.warmup_epochs=1"]  # fmt: skip


class KilledError(Exception):
    """In place of the signal."""


class MortalSession(LocalSession):
    """Ends the run after so many checkpoints within an epoch, when the next one of any kind is to be written."""

    def __init__(self, run: Location, resume: bool, lives: int) -> None:
        super().__init__(run, 1, "max", resume, Lines())
        self.lives = lives

    def report_mid_epoch(self, snapshot: Mapping[str, Any] | None) -> None:
        if self.lives == 0:
            raise KilledError
        super().report_mid_epoch(snapshot)
        self.lives -= 1

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        if self.lives == 0:
            raise KilledError
        super().report(entry, value, snapshot)


class Lines(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, line: str) -> None:
        self.lines.append(line)


def run_whole(config: Config, run: Location, resume: bool = False) -> LocalSession:
    claim_run(config, run, 1, True, False, resume)
    session = LocalSession(run, 1, "max", resume, Lines())
    run_training(config, run, session, 1)
    return session


def run_until_killed(config: Config, run: Location, lives: int, resume: bool = False) -> None:
    claim_run(config, run, 1, True, False, resume)
    with pytest.raises(KilledError):
        run_training(config, run, MortalSession(run, resume, lives), 1)


def mid_epoch(run: Location) -> list[Location]:
    return list_checkpoints(run, MID_EPOCH_CHECKPOINT)


def brief(run: Location) -> list[dict[str, Any]]:
    return [{key: entry[key] for key in LEARNED if key in entry} for entry in read_history(run)]


def assert_same(one: Location, two: Location) -> None:
    assert brief(one) == brief(two)
    snapshots = [read_snapshot(list_checkpoints(run)[-1]) for run in (one, two)]
    for key in ("model", "average", "epoch_mean"):
        assert all(torch.equal(value, snapshots[1][key][name]) for name, value in snapshots[0][key].items())
    assert read_bundle(one / BEST).metrics == read_bundle(two / BEST).metrics
    weights = [(run / BEST / "model.safetensors").read_bytes() for run in (one, two)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_run_killed_within_an_epoch_ends_with_the_same_bits(
    phantom_config: Path, tmp_path: Path, loaders: int
) -> None:
    settings = [*SETTINGS, f"train.loader_workers={loaders}"]
    config = load_config(phantom_config, [*settings, "train.checkpoint_steps=1"])
    whole, killed = Location(tmp_path / "whole"), Location(tmp_path / "killed")
    # One that writes no such checkpoint at all.
    run_whole(load_config(phantom_config, settings), whole)
    run_until_killed(config, killed, 2)
    [left] = mid_epoch(killed)
    assert read_snapshot(left)[MID_EPOCH]["step"] == 2
    assert read_history(killed) == []
    # Then in the second epoch, after its first step.
    run_until_killed(config, killed, 2, resume=True)
    [left] = mid_epoch(killed)
    assert (read_snapshot(left)["epoch"], read_snapshot(left)[MID_EPOCH]["step"]) == (1, 1)
    assert len(read_history(killed)) == 1
    session = run_whole(config, killed, resume=True)
    assert_same(killed, whole)
    assert mid_epoch(killed) == session.passing == []
    assert [entry["train"]["images"] for entry in read_history(killed)][:3] == [16, 16, 16]


def test_minutes_are_counted_from_the_checkpoint_before(phantom_config: Path, tmp_path: Path) -> None:
    # Sixteen steps an epoch: the clock is looked at after the tenth.
    settings = ["train.batch_size=1", "train.epochs=1", "train.checkpoint_minutes=0.000001"]
    run = Location(tmp_path / "run")
    run_until_killed(load_config(phantom_config, [*settings, "train.checkpoint_steps=11"]), run, 1)
    assert [read_snapshot(folder)[MID_EPOCH]["step"] for folder in mid_epoch(run)] == [10]
    late = Location(tmp_path / "late")
    settings[-1] = "train.checkpoint_minutes=1000"
    run_until_killed(load_config(phantom_config, [*settings, "train.checkpoint_steps=13"]), late, 0)
    assert mid_epoch(late) == []


def test_the_best_epoch_is_kept_beside_what_is_within_the_next(phantom_config: Path, tmp_path: Path) -> None:
    """And its bundle is written again where the run was killed before that was done."""
    config = load_config(phantom_config, [*SETTINGS, "train.checkpoint_steps=3"])
    run = Location(tmp_path / "run")
    run_until_killed(config, run, 2)
    [epoch] = list_checkpoints(run)
    bundle = (run / BEST / "model.safetensors").read_bytes()
    metrics = read_bundle(run / BEST).metrics
    (run / BEST).delete_tree()
    run_until_killed(config, run, 0, resume=True)
    assert (run / BEST / "model.safetensors").read_bytes() == bundle
    assert read_bundle(run / BEST).metrics == metrics == read_history(run)[0]["validation"]
    assert list_checkpoints(run) == [epoch]


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_damaged_checkpoint_is_passed_over(phantom_config: Path, tmp_path: Path, cut: int) -> None:
    config = load_config(phantom_config, [*SETTINGS, "train.checkpoint_steps=3"])
    whole, damaged = Location(tmp_path / "whole"), Location(tmp_path / "damaged")
    run_whole(config, whole)
    run_until_killed(config, damaged, 2)
    [newest] = mid_epoch(damaged)
    state = newest / STATE_FILE
    state.write_bytes(state.read_bytes()[:cut])
    session = run_whole(config, damaged, resume=True)
    assert session.progress.lines == [  # type: ignore[attr-defined]
        f"checkpoint {newest.name} cannot be read: going on from the end of epoch 1, saved before it"
    ]
    assert_same(damaged, whole)
    # It is not told of again.
    assert run_whole(config, damaged, resume=True).progress.lines == []  # type: ignore[attr-defined]


def test_a_run_without_a_checkpoint_that_can_be_read_says_so(phantom_config: Path, tmp_path: Path) -> None:
    config = load_config(phantom_config, [*SETTINGS, "train.checkpoint_steps=1"])
    run = Location(tmp_path / "run")
    run_until_killed(config, run, 1)
    [newest] = mid_epoch(run)
    (newest / STATE_FILE).write_bytes(b"half")
    with pytest.raises(DataError, match=f"run run has nothing to go on from: checkpoint .*{newest.name} cannot be"):
        run_whole(config, run, resume=True)
