"""A look into some steps of the first epoch: its files, its table, and the same bits as without it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from command_line import answer, call
from safetensors.torch import load_file

from raycxr.config.load import load_config
from raycxr.runs.bundle import WEIGHTS
from raycxr.runs.record import BEST
from raycxr.storage.location import Location
from raycxr.training.step_profiler import PHASES, STEPS, StepProfiler, profile_files

ROWS = [*PHASES[:-1], "all-reduce", PHASES[-1], "other", "step"]


def run_steps(folder: Path, planned: int, done: int) -> list[str]:
    """Lines told about steps with every phase once, of which so many were planned."""
    told: list[str] = []
    profiler = StepProfiler(Location(folder), planned, torch.device("cpu"), told.append)
    with profiler:
        for _ in range(done):
            for name in PHASES:
                with profiler.phase(name):
                    torch.ones(8).sum()
            profiler.step()
    return told


@pytest.mark.parametrize(("planned", "recorded"), [(1, 1), (2, 1), (4, 3), (6, 5), (40, STEPS)])
def test_as_many_steps_as_the_epoch_leaves(tmp_path: Path, planned: int, recorded: int) -> None:
    [text] = run_steps(tmp_path, planned, planned)
    title, _, *rows, trace = text.splitlines()
    assert title.startswith(f"mean of {recorded} step")
    assert [row.split()[0] for row in rows] == ROWS
    times = {row.split()[0]: float(row.split()[1]) for row in rows}
    # Exchanges lie within the others.
    parts = sum(value for name, value in times.items() if name not in ("all-reduce", "step"))
    assert parts == pytest.approx(times["step"], abs=0.05)
    assert times["all-reduce"] == 0
    files = profile_files(Location(tmp_path))
    assert files["trace"] in trace
    assert Path(files["table"]).read_text().splitlines() == text.splitlines()[:-1]
    events = json.loads(gzip.decompress(Path(files["trace"]).read_bytes()))["traceEvents"]
    ranges = Counter(event["name"] for event in events if event.get("cat") == "user_annotation")
    assert all(ranges[name] == recorded for name in PHASES)


def test_an_epoch_that_ends_early_has_no_table(tmp_path: Path) -> None:
    assert run_steps(tmp_path, 40, 3) == ["nothing was profiled: the epoch ended after 3 steps"]
    assert profile_files(Location(tmp_path)) == {}


def test_a_failure_is_not_hidden_and_the_next_profile_works(tmp_path: Path) -> None:
    profiler = StepProfiler(Location(tmp_path), 1, torch.device("cpu"), print)
    with pytest.raises(ZeroDivisionError), profiler, profiler.phase("data"):
        _ = 1 // 0
    assert profile_files(Location(tmp_path)) == {}
    assert run_steps(tmp_path, 1, 1)


def test_a_profiled_run_learns_the_same(
    phantom_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--local", f"storage.uri={tmp_path}", "train.batch_size=4"]
    plain = answer(capsys, "train", phantom_config, "train.name=plain", *settings)
    assert "profile" not in plain
    document = answer(capsys, "train", phantom_config, "train.name=profiled", "--profile", *settings)
    assert document["profile"] == profile_files(Location(tmp_path / "profiled"))
    assert set(document["profile"]) == {"trace", "table"}
    one, other = (load_file(tmp_path / name / BEST / WEIGHTS) for name in ("plain", "profiled"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    table = Path(document["profile"]["table"]).read_text()
    times = {row.split()[0]: float(row.split()[1]) for row in table.splitlines()[2:]}
    # The loop marks all of them.
    assert all(times[name] > 0 for name in PHASES)


def test_a_classifier_is_not_profiled(phantom_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "classify.yaml"
    config.write_text(f"extends: {phantom_config}\nclassify: {{label: abnormal, encoder: resnet18}}\n")
    assert load_config(config).classify is not None
    status, _, told = call(capsys, "train", config, "--profile")
    assert status == 2
    assert "leave it out" in told
