"""Transfer learning end to end: the encoder in the bundle is the one that training started from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from raycxr.config.load import load_config
from raycxr.config.model import ModelSection
from raycxr.dataset.films import open_splits
from raycxr.models.choices import build_model
from raycxr.prediction.bundle import load_model
from raycxr.prediction.snapshot import plain_weights
from raycxr.runs.record import BEST
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.loop import run_training
from raycxr.training.session import LocalSession


@pytest.mark.parametrize(
    ("network", "decoder"),
    [
        ({"name": "linknet", "encoder": "resnet18", "freeze_encoder": True}, "decoder."),
        pytest.param({"name": "fcn", "encoder": "resnet50"}, "segmentation_head.", marks=pytest.mark.slow),
    ],
)
def test_a_frozen_encoder_goes_through_a_run_unchanged(
    phantom_config: Path, tmp_path: Path, network: dict[str, object], decoder: str
) -> None:
    started = build_model(ModelSection.model_validate(network), 1, 4)
    weights = {name: tensor.contiguous() for name, tensor in started.state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    settings = [f"model={json.dumps(network | {'encoder_weights': str(tmp_path / 'weights.safetensors')})}"]
    settings += ["train.epochs=2", "train.ema_decay=0.5"]
    settings += ["dataset.target=multiclass", "loss={cross_entropy: 1}", "train.metric=loss"]
    config = load_config(phantom_config, settings)
    check_trainable_config(config, open_splits(config), workers=1)
    run = Location(tmp_path / "run")
    run_training(config, run, LocalSession(run, 1, "min", resume=False), cpus=1)
    model, _, _ = load_model(run / BEST)
    snapshot = LocalSession(run, 1, "min", resume=True).latest_checkpoint()
    assert snapshot is not None
    for state in (model.state_dict(), plain_weights(snapshot), snapshot["model"]):
        for name, tensor in weights.items():
            if name.startswith("encoder."):
                assert torch.equal(state[name], tensor), name
            elif name.startswith(decoder) and tensor.ndim == 4:
                assert not torch.equal(state[name], tensor), name
    trained = sum(len(group["params"]) for group in snapshot["optimizer"]["param_groups"])
    assert trained == sum(not name.startswith("encoder.") for name, _ in model.named_parameters())
