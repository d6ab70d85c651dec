"""Training that starts from a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.errors import ConfigurationError, DataError
from raycxr.prediction.bundle import load_model
from raycxr.prediction.target import target_kind
from raycxr.runs.record import BEST
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.loop import run_training
from raycxr.training.session import LocalSession
from raycxr.training.start import initial_network


def train(config: Path, run: Path, *overrides: str) -> None:
    settings = load_config(config, ["train.epochs=1", "train.metric=loss", *overrides])
    check_trainable_config(settings, open_splits(settings), workers=1)
    run_training(settings, Location(run), LocalSession(Location(run), 1, "min", resume=False), cpus=1)


@pytest.fixture(scope="module")
def run(phantom_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("start") / "run"
    train(phantom_config, folder)
    return folder


def test_the_first_weights_are_those_of_the_run(phantom_config: Path, run: Path) -> None:
    config = load_config(phantom_config, [f"train.start_from={run}"])
    target = target_kind(config.dataset, open_splits(config).manifest.classes)
    torch.manual_seed(7)
    weights = initial_network(config, target).state_dict()
    trained = load_model(Location(run) / BEST)[0].state_dict()
    assert all(torch.equal(weights[name], trained[name]) for name in trained)


def test_a_run_goes_on_from_another(phantom_config: Path, run: Path, tmp_path: Path) -> None:
    train(phantom_config, tmp_path / "warm", f"train.start_from={run}", "optimizer.lr=1e-9", "train.ema_decay=null")
    train(phantom_config, tmp_path / "cold", "optimizer.lr=1e-9", "train.ema_decay=null")
    before = load_model(Location(run) / BEST)[0].state_dict()
    changes: dict[str, Any] = {}
    for name in ("warm", "cold"):
        after = load_model(Location(tmp_path / name) / BEST)[0].state_dict()
        changes[name] = max(
            float((after[key] - value).abs().max()) for key, value in before.items() if key.endswith("weight")
        )
    assert changes["warm"] < 1e-6 < changes["cold"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model={name: res_unet}", r"was trained with model\.name = inverted_net, here res_unet"),
        ("model.channels=[4, 4]", r"was trained with model\.channels = \(8, 4\), here \(4, 4\)"),
        ("dataset.target=multiclass", r"was trained with dataset\.target = multilabel, here multiclass"),
    ],
)
def test_weights_of_another_network_are_refused(phantom_config: Path, run: Path, override: str, message: str) -> None:
    config = load_config(phantom_config, [f"train.start_from={run}", override, "loss={dice: 1}"])
    with pytest.raises(ConfigurationError, match=message):
        check_trainable_config(config, open_splits(config), workers=1)


def test_what_the_network_does_not_use_may_differ(phantom_config: Path, run: Path) -> None:
    config = load_config(phantom_config, [f"train.start_from={run}", "model.encoder=resnet34"])
    check_trainable_config(config, open_splits(config), workers=1)


def test_weights_that_saw_held_out_films_are_refused(phantom_config: Path, run: Path) -> None:
    config = load_config(phantom_config, [f"train.start_from={run}", "dataset.split={seed: 5}"])
    with pytest.raises(ConfigurationError, match=r"was trained on 4 of the 5 films that are held out") as caught:
        check_trainable_config(config, open_splits(config), workers=1)
    assert "dataset.split" in caught.value.remedy


def test_a_run_that_does_not_exist(phantom_config: Path, tmp_path: Path) -> None:
    config = load_config(phantom_config, [f"train.start_from={tmp_path}/nothing"])
    with pytest.raises(DataError, match="neither a bundle nor a run"):
        check_trainable_config(config, open_splits(config), workers=1)
