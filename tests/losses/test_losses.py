from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raycxr.errors import ConfigurationError
from raycxr.losses.bce import binary_cross_entropy
from raycxr.losses.choices import LOSSES, build_loss
from raycxr.losses.cross_entropy import cross_entropy
from raycxr.losses.dice import SoftDice, soft_dice_loss
from raycxr.losses.target import Target
from raycxr.losses.weighted_sum import WeightedSum

ALL_LOSSES = [(target, name) for target, names in LOSSES.items() for name in names]
each_loss = pytest.mark.parametrize(("target", "name"), ALL_LOSSES)


def _case(target: Target, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (2, 3, 4, 5) and a target with every class, one of the images without class 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 3, 4, 5, generator=generator)
    if target == "multilabel":
        masks = torch.randint(0, 2, (2, 3, 4, 5), generator=generator, dtype=torch.uint8)
        masks[1, 1] = 0
        return logits, masks
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[1][labels[1] == 1] = 0
    return logits, labels


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_binary_cross_entropy_by_hand() -> None:
    logits = torch.tensor([0.0, 2.0, -1.0, 3.0]).view(1, 1, 2, 2)
    target = torch.tensor([0, 1, 1, 0], dtype=torch.uint8).view(1, 1, 2, 2)
    expected = -(math.log(0.5) + math.log(_sigmoid(2)) + math.log(_sigmoid(-1)) + math.log(1 - _sigmoid(3)))
    assert float(binary_cross_entropy(logits, target)) == pytest.approx(expected / 4, rel=1e-6)


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 1.0]]).view(1, 3, 1, 2)
    expected = -(math.log(math.e**2 / (math.e**2 + 2)) + math.log(1 / 3)) / 2
    assert float(cross_entropy(logits, torch.tensor([[[1, 2]]]))) == pytest.approx(expected, rel=1e-6)


def test_soft_dice_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 1.0, 0.0, 0.25], [0.0, 0.0, 0.5, 0.5]]).view(2, 1, 2, 2)
    target = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.uint8).view(2, 1, 2, 2)
    first, second = (2 * 1.5 + 1) / (1.75 + 2 + 1), (0 + 1) / (1 + 0 + 1)
    per_image = soft_dice_loss(probabilities, target, per_image=True)
    assert float(per_image) == pytest.approx(1 - (first + second) / 2, rel=1e-6)
    per_batch = soft_dice_loss(probabilities, target, per_image=False)
    assert float(per_batch) == pytest.approx(1 - (2 * 1.5 + 1) / (2.75 + 2 + 1), rel=1e-6)
    without_smoothing = soft_dice_loss(probabilities[:1], target[:1], smooth=1e-9)
    assert float(without_smoothing) == pytest.approx(1 - 3 / 3.75, rel=1e-6)


@pytest.mark.parametrize("target", ["multilabel", "multiclass"])
@pytest.mark.parametrize("per_image", [True, False])
def test_soft_dice_of_logits_against_numpy(target: Target, per_image: bool) -> None:
    logits, truth = _case(target)
    values, masks = logits.double().numpy(), np.asarray(truth)
    if target == "multilabel":
        probabilities = 1 / (1 + np.exp(-values))
    else:
        probabilities = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        masks = np.stack([masks == label for label in range(3)], axis=1)
    scores = []
    for images in [slice(0, 1), slice(1, 2)] if per_image else [slice(0, 2)]:
        for label in range(3):
            p, t = probabilities[images, label], masks[images, label]
            scores.append((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    loss = SoftDice(target, per_image=per_image)(logits, truth)
    assert float(loss) == pytest.approx(1 - np.mean(scores), rel=1e-5)


@pytest.mark.parametrize("target", ["multilabel", "multiclass"])
def test_batch_dice_against_segmentation_models_pytorch(target: Target) -> None:
    import segmentation_models_pytorch as smp

    logits, truth = _case(target)
    # Theirs is written as a Tversky index, whose numerator and denominator are half of ours.
    theirs = smp.losses.DiceLoss(mode=target, from_logits=True, smooth=0.5)(logits, truth)
    ours = SoftDice(target, per_image=False, smooth=1.0)(logits, truth)
    torch.testing.assert_close(ours, theirs)


@each_loss
def test_gradients_agree_with_differences(target: Target, name: str) -> None:
    logits, truth = _case(target)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: LOSSES[target][name]()(values, truth), (logits,))


@each_loss
@pytest.mark.parametrize("scale", [0.0, 1e4, 1e30])
def test_extreme_logits_stay_finite(target: Target, name: str, scale: float) -> None:
    logits, truth = _case(target)
    logits = (logits * scale).requires_grad_()
    loss = LOSSES[target][name]()(logits, truth)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@each_loss
def test_a_perfect_prediction_costs_almost_nothing_and_the_reverse_much(target: Target, name: str) -> None:
    loss = LOSSES[target][name]()
    if target == "multilabel":
        truth = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        truth[:, :, 4:12, 4:12] = 1
        perfect = 40 * (truth.float() - 0.5)
    else:
        truth = torch.arange(3).repeat(2, 16, 8)[:, :, :16]
        perfect = 40 * torch.nn.functional.one_hot(truth, 3).movedim(-1, 1).float()
    assert float(loss(perfect, truth)) < 1e-4
    assert float(loss(-perfect, truth)) > 0.5


@pytest.mark.parametrize("name", ["dice", "batch_dice"])
def test_dice_of_empty_masks(name: str) -> None:
    loss = LOSSES["multilabel"][name]()
    truth = torch.zeros(2, 1, 8, 8)
    assert float(loss(torch.full((2, 1, 8, 8), -30.0), truth)) < 1e-6
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
    value = loss(logits, truth)
    pixels = 64 if name == "dice" else 128
    assert value.item() == pytest.approx(pixels / 2 / (pixels / 2 + 1), rel=1e-6)
    value.backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()  # descent lowers the logits


def test_dice_per_image_is_the_mean_over_parts_of_the_batch_and_batch_dice_is_not() -> None:
    logits, truth = _case("multilabel")

    def parts(loss: nn.Module) -> Tensor:
        return torch.stack([loss(logits[index, None], truth[index, None]) for index in range(2)]).mean()

    per_image, per_batch = LOSSES["multilabel"]["dice"](), LOSSES["multilabel"]["batch_dice"]()
    torch.testing.assert_close(per_image(logits, truth), parts(per_image))
    assert abs(float(per_batch(logits, truth) - parts(per_batch))) > 1e-3


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computed_in_float32_whatever_the_logits(target: Target, name: str, dtype: torch.dtype) -> None:
    logits, truth = _case(target)
    logits = logits.to(dtype)
    loss = LOSSES[target][name]()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, truth)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits.float(), truth))


@each_loss
def test_a_target_of_another_shape_is_refused(target: Target, name: str) -> None:
    logits, truth = _case(target)
    with pytest.raises(ValueError, match="for logits of shape"):
        LOSSES[target][name]()(logits[:, :1, :2], truth)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bool])
def test_masks_of_any_type(dtype: torch.dtype) -> None:
    logits, truth = _case("multilabel")
    loss = build_loss({"bce": 1, "dice": 1}, "multilabel")
    torch.testing.assert_close(loss(logits, truth.to(dtype)), loss(logits, truth.float()))


@pytest.mark.parametrize(
    ("weights", "target"),
    [
        ({"bce": 3.0, "dice": 0.5, "batch_dice": 2.0}, "multilabel"),
        ({"cross_entropy": 1, "dice": 1}, "multiclass"),  # the DD2424 project
        ({"dice": 1}, "multilabel"),
    ],
)
def test_the_weighted_sum_and_its_parts(weights: Mapping[str, float], target: Target) -> None:
    logits, truth = _case(target)
    loss = build_loss(weights, target)
    parts = loss.parts(logits, truth)
    assert list(parts) == list(weights)
    for name, value in parts.items():
        assert torch.equal(value, LOSSES[target][name]()(logits, truth))
    expected = sum(weight * float(parts[name]) for name, weight in weights.items())
    assert float(loss(logits, truth)) == pytest.approx(expected, rel=1e-6)
    assert torch.equal(loss(logits, truth), loss.total(parts))


def test_a_loss_of_weight_zero_is_left_out() -> None:
    assert list(build_loss({"bce": 1, "dice": 0}, "multilabel").weights) == ["bce"]


@pytest.mark.parametrize(
    ("weights", "target", "message", "remedy"),
    [
        ({"dise": 1}, "multilabel", "loss.dise is unknown", "bce, dice, batch_dice"),
        ({"dice": 1, "cross_entropy": 1}, "multilabel", "cross_entropy is for multiclass", "multiclass"),
        ({"bce": 1}, "multiclass", "bce is for multilabel", "cross_entropy, dice, batch_dice"),
        ({"bce": -1}, "multilabel", "loss.bce = -1", "0 or above"),
        ({"bce": math.nan}, "multilabel", "loss.bce = nan", "0 or above"),
        ({"bce": 0, "dice": 0}, "multilabel", "no loss has a weight", "loss: {dice: 1}"),
        ({}, "multiclass", "no loss has a weight", "loss: {dice: 1}"),
    ],
)
def test_impossible_sums(weights: Mapping[str, float], target: Target, message: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        build_loss(weights, target)
    assert remedy in caught.value.remedy


def test_losses_and_weights_must_have_the_same_names() -> None:
    with pytest.raises(ValueError, match="weights for"):
        WeightedSum({"dice": SoftDice("multilabel")}, {"bce": 1.0})
