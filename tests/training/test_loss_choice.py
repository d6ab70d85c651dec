"""Every loss that a configuration can name trains, with the settings that the configuration gives it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.errors import ConfigurationError
from raycxr.losses.choices import LOSSES
from raycxr.losses.target import Target
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.loop import run_training
from raycxr.training.session import LocalSession


def train(config: Path, run: Path, *overrides: str) -> dict[str, Any]:
    """Metrics of training of the only epoch."""
    settings = load_config(config, ["train.epochs=1", "train.metric=loss", *overrides])
    check_trainable_config(settings, open_splits(settings), workers=1)
    session = LocalSession(Location(run), 1, "min", resume=False)
    trained: dict[str, Any] = run_training(settings, Location(run), session, cpus=1).history[0]["train"]
    return trained


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_every_loss_trains(phantom_config: Path, tmp_path: Path, kind: Target) -> None:
    names = list(LOSSES[kind])
    weights = ", ".join(f"{name}: 0.1" for name in names)
    settings = ["loss_settings.weighted_bce.positive_weight=3", f"dataset.target={kind}"]
    trained = train(phantom_config, tmp_path, f"loss={{{weights}}}", *settings)
    assert list(trained["loss_parts"]) == names
    assert all(math.isfinite(value) for value in trained["loss_parts"].values())
    assert trained["loss"] == pytest.approx(0.1 * sum(trained["loss_parts"].values()))


def test_settings_change_what_is_trained(phantom_config: Path, tmp_path: Path) -> None:
    losses = [
        train(phantom_config, tmp_path / str(gamma), "loss={focal: 1}", f"loss_settings.focal.gamma={gamma}")["loss"]
        for gamma in (0, 2)
    ]
    assert losses[0] > 1.5 * losses[1]


def test_a_missing_weight_is_told_before_training(phantom_config: Path) -> None:
    config = load_config(phantom_config, ["loss={weighted_bce: 1}"])
    with pytest.raises(ConfigurationError, match="weighted_bce has no weight"):
        check_trainable_config(config, open_splits(config), workers=1)
