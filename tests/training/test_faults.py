"""What a run on Ray survives, and how it ends where it does not: workers, storage, damaged files."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from running_training import RunningTraining, assert_same, last_weights, learned
from s3_server import S3Server

from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.runs.record import MID_EPOCH_CHECKPOINT, STATE_FILE, read_history, read_record
from raycxr.storage.location import Location

pytestmark = [pytest.mark.slow, pytest.mark.alone]

EPOCHS = 8
# Eight steps an epoch of two forward passes, in which each worker has one film.
TWO_WORKERS = [f"train.epochs={EPOCHS}", "train.batch_size=4", "train.accumulate=2", "train.ema_decay=0.9",
               "model.dropout=0.5", "train.checkpoint_steps=1", "resources.workers=2", "resources.cpus_per_worker=1",
               "resources.hang_minutes=0.3"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(phantom_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Location:
    """A run of two workers that was left alone."""
    folder = Location(tmp_path_factory.mktemp("whole"))
    with RunningTraining(phantom_config, folder, "whole", *TWO_WORKERS) as run:
        assert run.end()[0] == 0, run.told
    return run.place


def test_a_worker_that_is_killed_and_one_that_hangs_are_replaced(
    phantom_config: Path, tmp_path: Path, whole: Location
) -> None:
    with RunningTraining(phantom_config, Location(tmp_path), "hurt", *TWO_WORKERS) as run:
        run.wait_for(lambda: run.epochs() > 0 and bool(list_checkpoints(run.place, MID_EPOCH_CHECKPOINT)))
        first = run.workers()
        os.kill(first[1], signal.SIGKILL)
        run.wait_for(lambda: len(set(run.workers()) - set(first)) == 2)
        done = run.epochs()
        run.wait_for(lambda: run.epochs() > done)
        os.kill(run.workers()[0], signal.SIGSTOP)
        assert run.end()[0] == 0, run.told
    assert_same(run.place, whole)
    assert list_checkpoints(run.place, MID_EPOCH_CHECKPOINT) == []


def test_a_run_killed_within_an_epoch_goes_on_there(phantom_config: Path, tmp_path: Path) -> None:
    """Its only epoch, after which there would be nothing left to go on with."""
    settings = ["train.epochs=1", "train.batch_size=1", "model.dropout=0.5", "train.checkpoint_steps=1",
                "resources.cpus_per_worker=1"]  # fmt: skip
    folder = Location(tmp_path)
    with RunningTraining(phantom_config, folder, "left_alone", *settings) as left_alone:
        assert left_alone.end()[0] == 0, left_alone.told
    with RunningTraining(phantom_config, folder, "killed", *settings) as killed:
        killed.wait_for(lambda: killed.place.exists() and bool(list_checkpoints(killed.place, MID_EPOCH_CHECKPOINT)))
    # Processes of a cluster notice within two seconds that it is gone.
    time.sleep(5)
    assert read_history(killed.place) == []
    with RunningTraining(phantom_config, folder, "killed", *settings, "--resume", "killed") as resumed:
        assert resumed.end()[0] == 0, resumed.told
    assert "going on from step" in resumed.told
    assert_same(resumed.place, left_alone.place)


def test_a_damaged_checkpoint_is_passed_over(phantom_config: Path, whole: Location) -> None:
    """After `whole` has been compared with; its last epoch is trained again."""
    before, weights = learned(whole), last_weights(whole)
    newest = max(list_checkpoints(whole), key=lambda folder: folder.name)
    assert read_snapshot(newest)["epoch"] == EPOCHS
    state = newest / STATE_FILE
    state.write_bytes(state.read_bytes()[:1000])
    with RunningTraining(phantom_config, whole.parent, "whole", *TWO_WORKERS, "--resume", "whole") as run:
        assert run.end()[0] == 0, run.told
    assert f"checkpoint {newest.name} cannot be read: going on from" in run.told
    assert learned(whole) == before
    newest.delete_tree()
    again = last_weights(whole)
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_storage_that_is_away_for_a_while(
    phantom_config: Path, tmp_path: Path, s3_server: S3Server, s3_folder: str
) -> None:
    overrides = ["train.epochs=15", "train.checkpoint_steps=1", "resources.cpus_per_worker=1"]
    with RunningTraining(phantom_config, Location(s3_folder), "away", *overrides) as run:
        run.wait_for(lambda: run.epochs() > 2)
        s3_server.stop("proxy")
        try:
            time.sleep(8)
        finally:
            s3_server.start("proxy")
        assert run.process.poll() is None, run.told
        assert run.end()[0] == 0, run.told
    history = read_history(run.place)
    assert [entry["epoch"] for entry in history] == list(range(1, 16))
    assert all(entry["train"]["images"] == 16 for entry in history)
    assert read_record(run.place)["status"] == "finished"
    assert max(read_snapshot(folder)["epoch"] for folder in list_checkpoints(run.place)) == 15


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a file system of a certain size can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(phantom_config: Path, small_disk: Path, whole: Location) -> None:
    """The run ends with one line, and goes on from what it had saved once there is room again."""
    filler, folder = small_disk / "filler", Location(small_disk)
    with RunningTraining(phantom_config, folder, "full", *TWO_WORKERS) as run:
        run.wait_for(lambda: run.epochs() > 1)
        with filler.open("wb") as file, suppress(OSError):
            file.write(bytes(2 << 20))
        status, answer = run.end()
    assert status == 1
    assert "o space left" in answer["error"]["message"]
    assert "--resume full" in answer["error"]["remedy"]
    assert 0 < run.epochs() < EPOCHS
    filler.unlink()
    with RunningTraining(phantom_config, folder, "full", *TWO_WORKERS, "--resume", "full") as resumed:
        assert resumed.end()[0] == 0, resumed.told
    assert_same(resumed.place, whole)
