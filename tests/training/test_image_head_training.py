"""A network with an image-level head trains with its own loss, is validated with it, and comes back from its bundle."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.config.dataset import DatasetSection
from raycxr.config.evaluate import EvaluateSection
from raycxr.config.load import load_config
from raycxr.config.optimizer import OptimizerSection, ScheduleSection
from raycxr.config.train import TrainSection
from raycxr.dataset.films import Batch, open_splits
from raycxr.errors import ConfigurationError
from raycxr.evaluation.evaluate import evaluate_predictor
from raycxr.losses.choices import build_loss
from raycxr.prediction.bundle import load_model
from raycxr.prediction.compute import Compute
from raycxr.prediction.predictor import load_predictor
from raycxr.prediction.target import target_kind
from raycxr.runs.record import BEST
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.epoch import train_epoch, validate
from raycxr.training.loop import run_training
from raycxr.training.mid_epoch import MidEpoch
from raycxr.training.optimizer import build_optimizer
from raycxr.training.schedule import Schedule
from raycxr.training.session import LocalSession
from raycxr.training.state import Progress, TrainingState

COMPUTE = Compute(torch.device("cpu"), None, channels_last=False)


class FreeOutputs(nn.Module):
    """Mask logits and image logits that are parameters themselves, so that their gradients are seen."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.masks = nn.Parameter(torch.randn(4, 2, 8, 8, generator=generator))
        self.images = nn.Parameter(torch.randn(4, 2, generator=generator))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.masks[: len(images)], self.images[: len(images)]


def test_films_without_masks_teach_the_head_nothing(tmp_path: Path) -> None:
    fields = torch.zeros(4, 8, 8, dtype=torch.uint8)
    fields[0, 2, 2], fields[1, 3, 3], fields[3, :2] = 1, 3, 2
    annotated = torch.tensor([True, False, True, True])
    batch = Batch(torch.zeros(4, 8, 8, dtype=torch.uint8), fields, list("abcd"), annotated)
    target = target_kind(DatasetSection(), ["heart", "lungs"])
    loss = build_loss({"bce": 1, "image_bce": 0.5}, "multilabel")
    model, session = FreeOutputs(), LocalSession(Location(tmp_path), 1, "max", resume=False)
    shown = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    image_loss = F.binary_cross_entropy_with_logits(model.images[annotated], shown)
    masks = target.split(fields[annotated]).float()
    mask_loss = F.binary_cross_entropy_with_logits(model.masks[annotated], masks)
    (expected,) = torch.autograd.grad(0.5 * image_loss, model.images, retain_graph=True)

    validation = validate(model, [batch], loss, target, COMPUTE, session)
    assert validation["loss"] == pytest.approx(mask_loss.item() + 0.5 * image_loss.item())

    optimizer = build_optimizer(OptimizerSection(name="sgd"), model)
    state = TrainingState(
        model,
        optimizer,
        Schedule(ScheduleSection(), optimizer, 1, 1, "max"),
        None,
        torch.amp.GradScaler("cpu", enabled=False),
        Progress(),
    )
    session.progress.start(1, 1, 1)
    mid_epoch = MidEpoch(TrainSection(), session, 1, None, {})
    trained = train_epoch(state, model, [batch], loss, target, COMPUTE, session, 0, 1, None, mid_epoch)
    session.close()
    torch.testing.assert_close(model.images.grad, expected)
    assert not expected[1].any()
    assert trained["loss_parts"] == pytest.approx({"bce": mask_loss.item(), "image_bce": image_loss.item()})
    assert trained["loss"] == pytest.approx(mask_loss.item() + 0.5 * image_loss.item())


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_from_the_configuration_to_the_evaluation(phantom_config: Path, tmp_path: Path, kind: str) -> None:
    masks = "bce" if kind == "multilabel" else "cross_entropy"
    settings = ["model={name: linknet, image_head: true}", f"loss={{{masks}: 1, image_bce: 0.3}}"]
    config = load_config(
        phantom_config,
        [*settings, f"dataset.target={kind}", "train.epochs=1", "train.metric=loss", "train.ema_decay=0.9"],
    )
    check_trainable_config(config, open_splits(config), workers=1)
    run = Location(tmp_path / "run")
    history = run_training(config, run, LocalSession(run, 1, "min", resume=False), cpus=1).history
    parts = history[0]["train"]["loss_parts"]
    assert list(parts) == [masks, "image_bce"]
    assert all(math.isfinite(value) for value in parts.values())
    model, target, _ = load_model(run / BEST)
    with torch.no_grad():
        logits, image_logits = model(torch.zeros(2, 1, 32, 32))
    assert logits.shape == (2, target.channels, 32, 32)
    assert image_logits.shape == (2, 3)
    section = EvaluateSection(surface_distances=False, resolution="dataset")
    assert (
        len(
            evaluate_predictor(
                load_predictor([run / BEST]), None, "test", section, print, lambda done, total: None
            ).films
        )
        == 4
    )


def test_a_head_without_its_loss_is_told_before_training(phantom_config: Path) -> None:
    for overrides, message in [
        (["model={name: unet, image_head: true}"], "no loss trains the image-level head"),
        (["model={name: unet}", "loss={bce: 1, image_bce: 1}"], "needs an image-level head"),
        (
            ["model={name: res_unet, image_head: true}", "loss={bce: 1, image_bce: 1}"],
            "image_head = true: res_unet does not use it",
        ),
        (["model={name: res_unet, freeze_encoder: true}"], "freeze_encoder = true: res_unet does not use it"),
        (["model={name: fcn}"], "'resnet18' has no head in the FCN"),
    ]:
        config = load_config(phantom_config, overrides)
        with pytest.raises(ConfigurationError, match=message):
            check_trainable_config(config, open_splits(config), workers=1)
