"""Networks that a configuration can name train, are saved as bundles and come back the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.errors import ConfigurationError
from raycxr.prediction.bundle import load_model
from raycxr.prediction.snapshot import plain_weights
from raycxr.runs.record import BEST
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.loop import run_training
from raycxr.training.session import LocalSession


@pytest.mark.parametrize("name", ["classic_unet", "res_unet", "linknet", "upernet"])
def test_a_network_trains_and_comes_back_from_its_bundle(phantom_config: Path, tmp_path: Path, name: str) -> None:
    config = load_config(phantom_config, [f"model={{name: {name}}}", "train.epochs=1", "train.metric=loss"])
    check_trainable_config(config, open_splits(config), workers=1)
    run = Location(tmp_path / "run")
    run_training(config, run, LocalSession(run, 1, "min", resume=False), cpus=1)
    model, _, bundle = load_model(run / BEST)
    snapshot = LocalSession(run, 1, "min", resume=True).latest_checkpoint()
    assert snapshot is not None
    assert bundle.config.model.name == name
    for key, value in plain_weights(snapshot).items():
        assert torch.equal(model.state_dict()[key], value)


def test_one_film_to_a_pass_is_refused_where_batch_norm_needs_two(phantom_config: Path) -> None:
    config = load_config(phantom_config, ["model={name: deeplabv3}", "train.batch_size=2", "train.accumulate=2"])
    with pytest.raises(ConfigurationError, match="leaves one film to a forward pass") as caught:
        check_trainable_config(config, open_splits(config), workers=1)
    assert caught.value.remedy == "choose 4 or more, or model.norm=group"
