"""What validation measures: the same for any number of workers, and the same as evaluation's own metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from raycxr.config.dataset import DatasetSection
from raycxr.dataset.films import SplitIndex
from raycxr.dataset.loader import BatchLoader, TrainSampler
from raycxr.metrics import overlap
from raycxr.metrics.calibration import calibration_error, calibration_sums
from raycxr.prediction.target import TargetKind, target_kind
from raycxr.training.gauges import Gauges
from raycxr.training.progress import EpochProgress, SilentProgress
from raycxr.training.validation_sums import ValidationSums

CPU = torch.device("cpu")
CLASSES = ["lungs", "lesion"]


class Waiting(Exception):  # noqa: N818 - no error
    """A worker waits for what the others have to add."""


class OneOfThem:
    """Session of one of several workers, which take turns in one thread.

    `known` are the sums of the rounds that all workers have been through; what a worker adds next goes to `given`.
    """

    def __init__(self, rank: int, world_size: int, known: list[Tensor], given: list[Tensor]) -> None:
        self.rank, self.world_size, self.device = rank, world_size, CPU
        self.known, self.given = iter(known), given
        self.progress: EpochProgress = SilentProgress()
        self.gauges: Gauges | None = None

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def add_up(self, values: Tensor) -> Tensor:
        total = next(self.known, None)
        if total is None:
            self.given.append(values)
            raise Waiting
        return total

    def stream(self, splits: SplitIndex, sampler: TrainSampler, pin_memory: bool) -> BatchLoader | None:
        return None

    def latest_checkpoint(self) -> dict[str, Any] | None:
        return None

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        pass

    def report_mid_epoch(self, snapshot: Mapping[str, Any] | None) -> None:
        pass

    def close(self) -> None:
        pass


def results(workers: list[ValidationSums]) -> list[dict[str, Any]]:
    """What every worker makes of the sums of all."""
    known: list[Tensor] = []
    while True:
        given: list[Tensor] = []
        found = []
        for rank, sums in enumerate(workers):
            with suppress(Waiting):
                found.append(sums.result(OneOfThem(rank, len(workers), known, given)))
        if not given:
            return found
        assert len(given) == len(workers)
        known.append(torch.stack(given).sum(dim=0))


def films(count: int, seed: int, target: TargetKind) -> tuple[Tensor, Tensor]:
    """Logits, and bit fields of which every film has lungs and some a lesion."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, target.channels, 12, 12, generator=generator)
    fields = torch.randint(0, 2, (count, 12, 12), generator=generator, dtype=torch.uint8)
    fields[:, 0, 0] = 1
    has_lesion = torch.rand(count, generator=generator) < 0.5
    fields[has_lesion, 5:8, 5:9] += 2
    return logits, fields


def measure(
    workers: int,
    logits: Tensor,
    fields: Tensor,
    target: TargetKind,
    batch_size: int = 2,
    image_probabilities: Tensor | None = None,
) -> list[dict[str, Any]]:
    """Results of all workers, which took turns as the sampler of validation deals films."""
    together = [ValidationSums(target, CPU) for _ in range(workers)]
    for rank, sums in enumerate(together):
        mine = torch.arange(len(logits))[rank::workers]
        for batch in torch.split(mine, batch_size):
            scores = None if image_probabilities is None else image_probabilities[batch]
            sums.update(logits[batch].mean(), logits[batch], fields[batch], scores)
    return results(together)


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(2, 4), st.sampled_from(["multilabel", "multiclass"]))
@settings(deadline=None, max_examples=25)
def test_any_number_of_workers_measures_the_same(seed: int, count: int, workers: int, kind: str) -> None:
    target = target_kind(DatasetSection.model_validate({"target": kind}), CLASSES)
    logits, fields = films(count, seed, target)
    [alone] = measure(1, logits, fields, target, batch_size=3)
    for result in measure(workers, logits, fields, target):
        assert list(result) == list(alone)
        assert result["images"] == count
        assert result["loss"] == pytest.approx(alone["loss"], abs=1e-6)
        for name in set(alone) - {"images", "loss"}:
            assert result[name] == pytest.approx(alone[name], rel=1e-12, abs=1e-12)
        for exact in {"auc", "calibration_error"} & set(alone):
            assert result[exact] == alone[exact]


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_agrees_with_the_metrics_of_evaluation_and_scikit_learn(kind: str) -> None:
    target = target_kind(DatasetSection.model_validate({"target": kind, "precedence": ["lesion", "lungs"]}), CLASSES)
    logits, fields = films(20, 3, target)
    [result] = measure(1, logits, fields, target)
    truth = target.split(fields)
    probabilities = logits.softmax(dim=1)[:, 1:] if kind == "multiclass" else logits.sigmoid()
    predicted = target.predict(target.activate(logits))
    for metric in (overlap.dice, overlap.iou, overlap.precision, overlap.recall, overlap.pixel_accuracy):
        values = [metric(p.numpy(), t.numpy()) for p, t in zip(predicted, truth, strict=True)]
        expected = dict(zip(CLASSES, np.mean(values, axis=0), strict=True)) | {"mean": np.mean(values)}
        assert result[metric.__name__] == pytest.approx(expected)
    has_lesion = truth[:, 1].flatten(1).any(dim=1).numpy()
    assert set(has_lesion) == {True, False}
    scores = probabilities[:, 1].flatten(1).amax(dim=1).numpy()
    assert result["auc"]["lesion"] == pytest.approx(roc_auc_score(has_lesion, scores))
    assert list(result["auc"]) == ["lesion", "mean"]
    assert result["siim_score"]["lesion"] == result["dice"]["lesion"]
    assert result["floor"]["lesion"] == np.mean(~has_lesion)
    errors = calibration_error(calibration_sums(probabilities, truth).numpy())
    assert [result["calibration_error"][name] for name in CLASSES] == pytest.approx(list(errors))


def test_probabilities_of_an_image_head_are_the_scores() -> None:
    target = target_kind(DatasetSection(), CLASSES)
    logits, fields = films(12, 5, target)
    lesion = target.split(fields)[:, 1].flatten(1).any(dim=1)
    certain = torch.stack([torch.ones(12), lesion.float()], dim=1)
    assert 0 < lesion.sum() < 12
    [result] = measure(1, logits, fields, target, image_probabilities=certain)
    assert result["auc"] == {"lesion": 1, "mean": 1}
    assert result["image_calibration_error"]["lesion"] == pytest.approx(0, abs=1e-4)
    [worst] = measure(1, logits, fields, target, image_probabilities=1 - certain)
    assert worst["auc"]["lesion"] == 0
    assert worst["image_calibration_error"]["lesion"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (lambda fields: fields | 2, {"siim_score", "floor", "dice_positive", "negatives_empty", "auc"}),
        (lambda fields: fields & 1, {"dice_positive", "positives_found", "auc"}),
    ],
)
def test_what_the_films_leave_undefined_is_left_out(change: Callable[[Tensor], Tensor], missing: set[str]) -> None:
    target = target_kind(DatasetSection(), CLASSES)
    logits, fields = films(6, 1, target)
    [result] = measure(1, logits, change(fields), target)
    assert not missing & set(result)
    assert {"dice", "calibration_error"} <= set(result)
