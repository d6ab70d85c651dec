from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raycxr.config.loss import FocalSettings, LossSettingsSection, WeightedBceSettings
from raycxr.errors import ConfigurationError
from raycxr.losses.bce import binary_cross_entropy
from raycxr.losses.choices import LOSSES, build_loss
from raycxr.losses.cross_entropy import cross_entropy
from raycxr.losses.dice import SoftDice, soft_dice_loss
from raycxr.losses.target import Target
from raycxr.losses.weighted_sum import WeightedSum

ALL_LOSSES = [(target, name) for target, names in LOSSES.items() for name in names]
# Every loss as it is by default, and weighted_bce, which has no default, with a weight.
SETTINGS = LossSettingsSection(weighted_bce=WeightedBceSettings(positive_weight=2.0))
each_loss = pytest.mark.parametrize(("target", "name"), ALL_LOSSES)


def _loss(target: Target, name: str) -> nn.Module:
    return LOSSES[target][name](SETTINGS)


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
    assert torch.autograd.gradcheck(lambda values: _loss(target, name)(values, truth), (logits,))


@each_loss
@pytest.mark.parametrize("scale", [0.0, 1e4, 1e30])
def test_extreme_logits_stay_finite(target: Target, name: str, scale: float) -> None:
    logits, truth = _case(target)
    logits = (logits * scale).requires_grad_()
    loss = _loss(target, name)(logits, truth)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@each_loss
def test_a_perfect_prediction_costs_almost_nothing_and_the_reverse_much(target: Target, name: str) -> None:
    loss = _loss(target, name)
    if target == "multilabel":
        truth = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        truth[:, :, 4:12, 4:12] = 1
        perfect = 40 * (truth.float() - 0.5)
    else:
        truth = torch.arange(3).repeat_interleave(6)[:16].expand(2, 16, 16)
        perfect = 40 * torch.nn.functional.one_hot(truth, 3).movedim(-1, 1).float()
    assert float(loss(perfect, truth)) < 1e-4
    assert float(loss(-perfect, truth)) > 0.5


@pytest.mark.parametrize("name", ["dice", "batch_dice"])
def test_dice_of_empty_masks(name: str) -> None:
    loss = _loss("multilabel", name)
    truth = torch.zeros(2, 1, 8, 8)
    assert float(loss(torch.full((2, 1, 8, 8), -30.0), truth)) < 1e-6
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
    value = loss(logits, truth)
    pixels = 64 if name == "dice" else 128
    assert value.item() == pytest.approx(pixels / 2 / (pixels / 2 + 1), rel=1e-6)
    value.backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()  # descent lowers the logits


@each_loss
def test_the_mean_over_workers_is_the_loss_of_all_films_but_for_sums_over_the_batch(target: Target, name: str) -> None:
    logits, truth = _case(target)
    loss = _loss(target, name)
    workers = torch.stack([loss(logits[index, None], truth[index, None]) for index in range(2)])
    if name.startswith("batch_"):
        assert abs(float(loss(logits, truth) - workers.mean())) > 1e-4
    else:
        torch.testing.assert_close(loss(logits, truth), workers.mean())


EMPTY_WITHOUT_GRADIENT = ["boundary"]
EMPTY_WITH_ONE_GRADIENT = ["lovasz_hinge"]


@pytest.mark.parametrize("name", LOSSES["multilabel"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_empty_mask_costs_nothing_where_nothing_is_predicted(name: str, dtype: torch.dtype) -> None:
    # At -30 probabilities are small, at -200 they are exactly 0 in float32.
    for lowest in (-30.0, -200.0):
        logits = torch.full((2, 1, 8, 8), lowest, dtype=dtype, requires_grad=True)
        loss = _loss("multilabel", name)(logits, torch.zeros(2, 1, 8, 8))
        loss.backward()
        assert abs(loss.item()) < 1e-6
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", LOSSES["multilabel"])
def test_an_empty_mask_lowers_what_is_predicted(name: str) -> None:
    logits = torch.linspace(-0.5, 3, 64).reshape(1, 1, 8, 8).requires_grad_()
    loss = _loss("multilabel", name)(logits, torch.zeros(1, 1, 8, 8))
    loss.backward()
    assert logits.grad is not None
    if name in EMPTY_WITHOUT_GRADIENT:
        assert loss.item() == 0
        assert not logits.grad.any()
        return
    assert loss.item() > 0
    rising = logits.grad > 0  # descent lowers these logits
    assert (logits.grad >= 0).all()
    assert rising.sum() == (1 if name in EMPTY_WITH_ONE_GRADIENT else 64)


@each_loss
def test_a_class_that_no_film_shows(target: Target, name: str) -> None:
    logits, truth = _case(target)
    logits.requires_grad_()
    loss = _loss(target, name)(logits, torch.zeros_like(truth))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computed_in_float32_whatever_the_logits(target: Target, name: str, dtype: torch.dtype) -> None:
    logits, truth = _case(target)
    logits = logits.to(dtype)
    loss = _loss(target, name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, truth)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits.float(), truth))


@each_loss
def test_a_target_of_another_shape_is_refused(target: Target, name: str) -> None:
    logits, truth = _case(target)
    with pytest.raises(ValueError, match="for logits of shape"):
        _loss(target, name)(logits[:, :1, :2], truth)


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
        ({"bce": 3, "dice": 1, "focal": 4}, "multilabel"),  # the winners of SIIM
    ],
)
def test_the_weighted_sum_and_its_parts(weights: Mapping[str, float], target: Target) -> None:
    logits, truth = _case(target)
    loss = build_loss(weights, target)
    parts = loss.parts(logits, truth)
    assert list(parts) == list(weights)
    for name, value in parts.items():
        assert torch.equal(value, _loss(target, name)(logits, truth))
    expected = sum(weight * float(parts[name]) for name, weight in weights.items())
    assert float(loss(logits, truth)) == pytest.approx(expected, rel=1e-6)
    assert torch.equal(loss(logits, truth), loss.total(parts))


@each_loss
def test_no_films_at_all_give_no_loss_and_no_gradient(target: Target, name: str) -> None:
    logits, truth = _case(target)
    logits.requires_grad_()
    loss = build_loss({name: 2}, target, SETTINGS)(logits[:0], truth[:0])
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_settings_reach_the_losses_that_they_name() -> None:
    logits, truth = _case("multilabel")
    names = ["weighted_bce", "focal", "tversky", "batch_tversky", "focal_tversky", "batch_focal_tversky"]
    weights = dict.fromkeys(names, 1.0)
    changes: dict[str, dict[str, list[str]]] = {
        "weighted_bce": {"positive_weight": names[:1]},
        "focal": {"gamma": names[1:2], "alpha": names[1:2]},
        "tversky": {"alpha": names[2:4], "beta": names[2:4]},
        "focal_tversky": {"alpha": names[4:], "beta": names[4:], "gamma": names[4:]},
    }
    assert {name: set(keys) for name, keys in changes.items()} == {
        name: set(section) for name, section in LossSettingsSection().model_dump().items()
    }
    before = build_loss(weights, "multilabel", SETTINGS).parts(logits, truth)
    for section, keys in changes.items():
        for key, expected in keys.items():
            values = SETTINGS.model_dump()
            values[section][key] *= 0.9
            after = build_loss(weights, "multilabel", LossSettingsSection(**values)).parts(logits, truth)
            assert [name for name in names if not torch.equal(before[name], after[name])] == expected


def test_the_weight_of_focal_loss_may_be_all_alike() -> None:
    logits, truth = _case("multilabel")
    settings = LossSettingsSection(focal=FocalSettings(gamma=0, alpha=0.5))
    loss = build_loss({"focal": 2}, "multilabel", settings)(logits, truth)
    torch.testing.assert_close(loss, binary_cross_entropy(logits, truth))


def test_a_loss_of_weight_zero_is_left_out() -> None:
    assert list(build_loss({"bce": 1, "dice": 0}, "multilabel").weights) == ["bce"]


@pytest.mark.parametrize(
    ("weights", "target", "message", "remedy"),
    [
        ({"dise": 1}, "multilabel", "loss.dise is unknown", "bce, weighted_bce, focal, dice, batch_dice"),
        ({"dice": 1, "cross_entropy": 1}, "multilabel", "cross_entropy is for multiclass", "multiclass"),
        ({"bce": 1}, "multiclass", "bce is for multilabel", "cross_entropy, focal, dice, batch_dice"),
        ({"bce": -1}, "multilabel", "loss.bce = -1", "0 or above"),
        ({"bce": math.nan}, "multilabel", "loss.bce = nan", "0 or above"),
        ({"bce": 0, "dice": 0}, "multilabel", "no loss has a weight", "loss: {dice: 1}"),
        ({}, "multiclass", "no loss has a weight", "loss: {dice: 1}"),
        ({"lovasz_hinge": 1}, "multiclass", "lovasz_hinge is for multilabel", "boundary"),
        ({"weighted_bce": 1}, "multilabel", "weighted_bce has no weight", "loss_settings.weighted_bce.positive_weight"),
    ],
)
def test_impossible_sums(weights: Mapping[str, float], target: Target, message: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        build_loss(weights, target)
    assert remedy in caught.value.remedy


def test_losses_and_weights_must_have_the_same_names() -> None:
    with pytest.raises(ValueError, match="weights for"):
        WeightedSum({"dice": SoftDice("multilabel")}, {"bce": 1.0})
