"""The number of forward passes per step that fits into memory: found once, told, kept through a resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.films import open_splits
from raycxr.errors import ConfigurationError, TrainingError
from raycxr.models.choices import build_model
from raycxr.models.recomputation import activation_bytes
from raycxr.prediction.bundle import load_model
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import target_kind
from raycxr.runs.record import BEST, read_history
from raycxr.storage.location import Location
from raycxr.training.accumulation import COPIES, FILMS_PER_PASS, SHARE, free_memory, with_fixed_passes
from raycxr.training.config_check import check_trainable_config
from raycxr.training.run import train, train_here
from raycxr.training.session import LocalSession

COMPUTE = Compute(torch.device("cpu"), None, channels_last=False)


@pytest.fixture
def config(phantom_config: Path, tmp_path: Path) -> Config:
    return load_config(phantom_config, ["train.accumulate=auto", "train.epochs=1", f"storage.uri={tmp_path}"])


def leave_memory_for(films: float, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many workers share the machine that each has room for the weights and a pass of so many films."""
    network = build_model(config.model, 1, 3)
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    needed = COPIES * weights + films * activation_bytes(network, 1, 32)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(int(SHARE * free_memory() / needed)))


def passes(config: Config, run: Path, snapshot: dict[str, int] | None = None) -> int | str:
    session = LocalSession(Location(run), 1, "max", resume=False)
    target = target_kind(config.dataset, ["lungs", "heart", "clavicles"])
    found = with_fixed_passes(config, target, 32, COMPUTE, session, snapshot).train.accumulate
    session.close()
    return found


def test_the_fewest_passes_that_fit(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert passes(config, tmp_path) == 1
    for films, expected in ((5.5, 2), (2.8, 4), (1.4, 8)):
        leave_memory_for(films, config, monkeypatch)
        assert passes(config, tmp_path) == expected
    leave_memory_for(0.5, config, monkeypatch)
    with pytest.raises(TrainingError, match="does not hold a forward pass of 1 film of 32 pixels"):
        passes(config, tmp_path)


def test_a_run_that_continues_keeps_its_number(config: Config, tmp_path: Path) -> None:
    assert passes(config, tmp_path, {FILMS_PER_PASS: 2}) == 4
    # Other workers than before, whose share has no such part.
    assert passes(config, tmp_path, {FILMS_PER_PASS: 3}) == 1
    fixed = config.model_copy(update={"train": config.train.model_copy(update={"accumulate": 2})})
    assert passes(fixed, tmp_path, {FILMS_PER_PASS: 8}) == 2


def test_it_is_told_and_recorded(
    config: Config, phantom_config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_memory_for(5.5, config, monkeypatch)
    result = train(config, phantom_config, None, train_here, print)
    assert "train.accumulate = 2: each worker makes a step of 8 films from 4 films at a time" in capsys.readouterr().err
    run = Location(result.run)
    assert load_model(run / BEST)[2].config.train.accumulate == 2
    assert [read_snapshot(folder)[FILMS_PER_PASS] for folder in list_checkpoints(run)] == [4]
    # More memory does not change how a run goes on.
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    again = train(config, phantom_config, result.run, train_here, print)
    assert again.epochs == len(read_history(run)) == 1
    assert load_model(run / BEST)[2].config.train.accumulate == 2


def test_what_cannot_be_shared_is_refused_before(config: Config) -> None:
    with pytest.raises(ConfigurationError, match="cannot be shared by 3 workers"):
        check_trainable_config(config, open_splits(config), workers=3)


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", 8_192_000), ("3000000", 3_000_000 - 2_000_000 + 500_000), ("90000000", 8_192_000)]
)
def test_the_memory_of_a_container(tmp_path: Path, limit: str, expected: int) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16000 kB\nMemAvailable:    8000 kB\n")
    assert free_memory(tmp_path) == 8_192_000
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text("2000000\n")
    (group / "memory.stat").write_text("anon 1500000\ninactive_file 500000\n")
    assert free_memory(tmp_path) == expected
