"""A run killed in the middle and resumed ends with the same bits as one that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.prediction.snapshot import load_snapshot
from raycxr.runs.record import CHECKPOINT, STATE_FILE, read_history, read_record
from raycxr.storage.location import Location

EPOCHS = 30
KILL_AFTER = 6


def command(config: Path, *arguments: str) -> list[str]:
    main = "from raycxr.cli.main import main; main()"
    return [sys.executable, "-c", main, "train", str(config), f"train.epochs={EPOCHS}", *arguments]


def finish(config: Path, *arguments: str) -> None:
    subprocess.run(command(config, *arguments), check=True, timeout=400)


def kill_in_the_middle(config: Path, run: Path, *arguments: str) -> None:
    """Start a run and kill the whole of it, without a chance to tidy up, once some epochs are in its history."""
    process = subprocess.Popen(command(config, *arguments), start_new_session=True)
    deadline = time.monotonic() + 300
    while len(read_history(Location(run))) < KILL_AFTER:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # Processes of an embedded cluster notice within two seconds that it is gone.
    time.sleep(5)
    assert KILL_AFTER <= len(read_history(Location(run))) < EPOCHS
    assert read_record(Location(run))["status"] == "running"


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = sorted(path for path in run.iterdir() if path.is_dir() and path.name.startswith(CHECKPOINT))[-1]
    snapshot = load_snapshot((checkpoint / STATE_FILE).read_bytes(), str(checkpoint))
    assert snapshot["epoch"] == EPOCHS
    weights: dict[str, torch.Tensor] = snapshot["model"]
    return weights


def assert_identical(one: Path, two: Path) -> None:
    first, second = last_weights(one), last_weights(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    histories = [
        [
            {key: entry[key] for key in ("epoch", "lr", "train", "validation", "best")}
            for entry in read_history(Location(run))
        ]
        for run in (one, two)
    ]
    assert histories[0] == histories[1]
    bundles = [
        json.loads((run / "best" / "bundle.json").read_text())["files"]["model.safetensors"] for run in (one, two)
    ]
    assert bundles[0] == bundles[1]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local", "ray"])
def test_a_killed_run_resumes_to_the_same_bits(phantom_config: Path, tmp_path: Path, where: str) -> None:
    overrides = [f"storage.uri={tmp_path}", "train.ema_decay=0.9", "schedule.name=plateau", "schedule.patience=3",
                 f"train.swa_epochs={EPOCHS - KILL_AFTER // 2}"]  # fmt: skip
    if where == "local":
        overrides.append("--local")
    kill_in_the_middle(phantom_config, tmp_path / "killed", "train.name=killed", *overrides)
    finish(phantom_config, "train.name=killed", "--resume", "killed", *overrides)
    finish(phantom_config, "train.name=whole", *overrides)
    assert_identical(tmp_path / "killed", tmp_path / "whole")
    assert read_record(Location(tmp_path / "killed"))["status"] == "finished"


def test_checkpoints_do_not_pile_up(phantom_config: Path, tmp_path: Path) -> None:
    finish(phantom_config, f"storage.uri={tmp_path}", "train.name=few", "train.num_to_keep=2", "--local")
    kept = [path for path in (tmp_path / "few").iterdir() if path.name.startswith(CHECKPOINT)]
    # The two best, and the latest where it is not among them.
    assert len(kept) in (2, 3)
    splits = open_splits(load_config(phantom_config))
    assert all(entry["validation"]["images"] == len(splits.annotated("validation")) for entry in _history(tmp_path))


def _history(folder: Path) -> list[dict[str, dict[str, int]]]:
    return read_history(Location(folder / "few"))
