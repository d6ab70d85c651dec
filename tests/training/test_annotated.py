"""Films without masks take no part in the loss, its gradient or the overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raycxr.config.dataset import DatasetSection
from raycxr.config.loss import LossSettingsSection, WeightedBceSettings
from raycxr.config.optimizer import OptimizerSection, ScheduleSection
from raycxr.config.train import TrainSection
from raycxr.dataset.films import Batch
from raycxr.losses.choices import LOSSES, build_loss
from raycxr.losses.target import Target
from raycxr.losses.weighted_sum import WeightedSum
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import TargetKind, target_kind
from raycxr.storage.location import Location
from raycxr.training.epoch import train_epoch, validate
from raycxr.training.mid_epoch import MidEpoch
from raycxr.training.optimizer import build_optimizer
from raycxr.training.schedule import Schedule
from raycxr.training.session import LocalSession
from raycxr.training.state import Progress, TrainingState

COMPUTE = Compute(torch.device("cpu"), None, channels_last=False)
SETTINGS = LossSettingsSection(weighted_bce=WeightedBceSettings(positive_weight=2.0))
ANNOTATED = torch.tensor([True, False, True, False])


class FreeLogits(nn.Module):
    """Logits that are parameters themselves, so that their gradients are seen."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[: len(images)]


def batch_of(rows: Tensor, annotated: Tensor) -> Batch:
    """Films by number, with random masks (also those not annotated: their fields must not matter)."""
    generator = torch.Generator().manual_seed(7)
    fields = torch.randint(0, 4, (4, 8, 8), generator=generator, dtype=torch.uint8)
    images = torch.zeros(4, 8, 8, dtype=torch.uint8)
    return Batch(images[rows], fields[rows], [str(int(row)) for row in rows], annotated)


def train(
    batches: list[Batch], logits: Tensor, loss: WeightedSum, target: TargetKind, run: Path
) -> tuple[Tensor, Any, Any]:
    """Gradient of the logits after one training step on all batches, its metrics, and those of validation before."""
    session = LocalSession(Location(run), 1, "max", resume=False)
    model = FreeLogits(logits)
    validation = validate(model, batches, loss, target, COMPUTE, session)
    optimizer = build_optimizer(OptimizerSection(name="sgd"), model)
    schedule = Schedule(ScheduleSection(), optimizer, 1, 1, "max")
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainingState(model, optimizer, schedule, None, scaler, Progress())
    session.progress.start(1, 1, 1)
    mid_epoch = MidEpoch(TrainSection(), session, len(batches), None, {})
    training = train_epoch(state, model, batches, loss, target, COMPUTE, session, 0, len(batches), None, mid_epoch)
    session.close()
    assert model.logits.grad is not None
    return model.logits.grad, training, validation


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in LOSSES.items() for name in names])
def test_films_without_masks_have_no_gradient_and_change_no_loss(kind: Target, name: str, tmp_path: Path) -> None:
    target = target_kind(DatasetSection(target=kind), ["heart", "lungs"])
    loss = build_loss({name: 1}, kind, SETTINGS)
    logits = torch.randn(4, target.channels, 8, 8, generator=torch.Generator().manual_seed(3))
    everything = torch.arange(4)
    mixed = train([batch_of(everything, ANNOTATED)], logits, loss, target, tmp_path)
    kept = everything[ANNOTATED]
    alone = train([batch_of(kept, ANNOTATED[kept])], logits[kept], loss, target, tmp_path)
    assert not mixed[0][~ANNOTATED].any()
    assert torch.equal(mixed[0][ANNOTATED], alone[0])
    assert alone[0].any()
    assert mixed[1] == alone[1]
    assert mixed[2] == alone[2]
    assert mixed[2]["images"] == 2


def test_a_batch_without_any_mask_adds_nothing_to_a_step(tmp_path: Path) -> None:
    target = target_kind(DatasetSection(), ["heart", "lungs"])
    loss = build_loss({"bce": 1, "dice": 1}, "multilabel")
    logits = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    with_masks = batch_of(torch.arange(4), torch.ones(4, dtype=torch.bool))
    without = batch_of(torch.arange(4), torch.zeros(4, dtype=torch.bool))
    both = train([without, with_masks], logits, loss, target, tmp_path)
    one = train([with_masks], logits, loss, target, tmp_path)
    # A step is the mean over its two batches.
    torch.testing.assert_close(both[0], one[0] / 2)
    assert both[1] == one[1]
    assert both[2] == one[2]
