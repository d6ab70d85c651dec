"""A run with sampling: what it draws stands in its history, and what it cannot draw is told before it starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.dataset.ingest import ingest, run_here
from raycxr.errors import ConfigurationError, DataError
from raycxr.runs.metric import default_mode
from raycxr.sources.synth import write_pairs
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.loop import run_training
from raycxr.training.session import LocalSession
from raycxr.training.state import Progress
from raycxr.xray.picture import encode_png

STAGES = "sampling.stages=[{epochs: 1, positive_share: 0.75}, {epochs: 1, positive_share: 0.5}, {}]"


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration over 24 films of which every fourth shows something."""
    folder = tmp_path_factory.mktemp("rare")
    write_pairs(Location(folder / "films"), 24, 32, 0, lambda done, total: None)
    masks = sorted((folder / "films" / "masks").iterdir())
    for number, mask in enumerate(masks):
        if number % 4:
            mask.write_bytes(encode_png(np.zeros((32, 32), np.uint8)))
    path = folder / "rare.yaml"
    path.write_text(
        f"""
ingest: {{source: pairs, images: {folder / "films" / "images"}, masks: {folder / "films" / "masks"}, size: 32,
  out: {folder / "data"}}}
dataset: {{split: {{rule: fraction, train: 16, validation: 8, test: 0, seed: 3}}}}
model: {{name: inverted_net, channels: [4, 4], dropout: 0.0}}
train: {{epochs: 4, batch_size: 4, precision: fp32, loader_workers: 0, metric: loss}}
tracking: {{tensorboard: false}}
"""
    )
    ingest(load_config(path), run_here, lambda done, total: None)
    return path


def run(path: Path, folder: Path, *overrides: str, resume: bool = False) -> Progress:
    config = load_config(path, overrides)
    check_trainable_config(config, open_splits(config), workers=1)
    session = LocalSession(Location(folder), 1, default_mode(config.train.metric), resume)
    return run_training(config, Location(folder), session, cpus=1)


def test_the_history_tells_the_share_and_the_steps_stay_the_same(rare: Path, tmp_path: Path) -> None:
    train = open_splits(load_config(rare)).annotated("train")
    positive = sum(row["pixels"][0] > 0 for row in train)
    assert 0 < positive < 8
    history = run(rare, tmp_path, STAGES, "sampling.films_per_epoch=14").history
    assert [entry["train"]["images"] for entry in history] == [16] * 4
    shares = [entry["train"]["positive_share"] for entry in history]
    assert shares[:2] == [0.75, 0.5]
    assert shares[2:] == pytest.approx([positive / len(train)] * 2, abs=1 / 16)
    assert "positive_share" not in run(rare, tmp_path / "plain", "train.epochs=1").history[0]["train"]


def test_a_resumed_run_draws_the_same_films(rare: Path, tmp_path: Path) -> None:
    overrides = (STAGES, "schedule.name=constant", "schedule.warmup_epochs=0")
    whole = run(rare, tmp_path / "whole", *overrides)
    run(rare, tmp_path / "part", *overrides, "train.epochs=2")
    resumed = run(rare, tmp_path / "part", *overrides, resume=True)
    assert [entry["train"] for entry in resumed.history] == [entry["train"] for entry in whole.history]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling={stages: [{positive_share: 0.5}], positive_class: heart}", "'heart' is no class of the data set"),
        ("sampling.source_weights={shenzhen: 2}", "'shenzhen', but no training film"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_training(rare: Path, override: str, message: str) -> None:
    config = load_config(rare, [override])
    with pytest.raises(ConfigurationError, match=message):
        check_trainable_config(config, open_splits(config), workers=1)


def test_negatives_that_are_not_there_are_told_before_training(phantom_config: Path) -> None:
    config = load_config(phantom_config, [STAGES])
    with pytest.raises(DataError, match="wants negative films, but all 16 training films show any class"):
        check_trainable_config(config, open_splits(config), workers=1)
