"""Tversky, Jaccard and focal Tversky loss against other implementations and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st

from raycxr.losses.dice import soft_dice_loss
from raycxr.losses.target import Target
from raycxr.losses.tversky import Tversky, tversky_distance, tversky_loss

weights = st.floats(0.05, 2)


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (2, 3, 4, 5) float64 and masks, one of them empty."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, 2, (2, 3, 4, 5), generator=generator, dtype=torch.uint8)
    masks[1, 1] = 0
    return probabilities, masks


@given(st.integers(0, 99), weights, weights, st.floats(0.1, 5), st.booleans())
def test_distances_against_numpy(seed: int, alpha: float, beta: float, smooth: float, per_image: bool) -> None:
    probabilities, masks = case(seed)
    p, t = probabilities.numpy(), masks.numpy().astype(float)
    axes = (2, 3) if per_image else (0, 2, 3)
    right = (p * t).sum(axis=axes) + smooth
    expected = 1 - right / (right + alpha * (p * (1 - t)).sum(axis=axes) + beta * ((1 - p) * t).sum(axis=axes))
    ours = tversky_distance(probabilities, masks, alpha, beta, per_image, smooth)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("target", ["multilabel", "multiclass"])
def test_sums_over_the_batch_against_segmentation_models_pytorch(target: Target) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(2, 3, 4, 5, generator=generator)
    shape = (2, 3, 4, 5) if target == "multilabel" else (2, 4, 5)
    truth = torch.randint(0, 2 if target == "multilabel" else 3, shape, generator=generator)
    theirs = smp.losses.TverskyLoss(target, from_logits=True, smooth=1.0, alpha=0.2, beta=0.9)(logits, truth)
    torch.testing.assert_close(Tversky(target, 0.2, 0.9, per_image=False)(logits, truth), theirs)
    theirs = smp.losses.JaccardLoss(target, from_logits=True, smooth=1.0)(logits, truth)
    torch.testing.assert_close(Tversky(target, 1, 1, per_image=False)(logits, truth), theirs)


@given(st.integers(0, 99), st.booleans())
def test_equal_weights_are_dice_and_jaccard(seed: int, per_image: bool) -> None:
    probabilities, masks = case(seed)
    dice = soft_dice_loss(probabilities, masks, per_image, smooth=1.0)
    torch.testing.assert_close(tversky_loss(probabilities, masks, 0.5, 0.5, per_image=per_image, smooth=0.5), dice)
    axes = (2, 3) if per_image else (0, 2, 3)
    overlap = (probabilities * masks).sum(dim=axes)
    union = (probabilities + masks - probabilities * masks).sum(dim=axes)
    jaccard = (1 - (overlap + 1) / (union + 1)).mean()
    torch.testing.assert_close(tversky_loss(probabilities, masks, 1.0, 1.0, per_image=per_image), jaccard)


def test_jaccard_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 1.0, 0.0, 0.25], [0.0, 0.0, 0.5, 0.5]]).view(2, 1, 2, 2)
    masks = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).view(2, 1, 2, 2)
    first, second = (1.5 + 1) / (1.75 + 2 - 1.5 + 1), 1 / (1 + 1)
    assert float(tversky_loss(probabilities, masks, 1, 1)) == pytest.approx(1 - (first + second) / 2)
    assert float(tversky_loss(probabilities, masks, 1, 1, per_image=False)) == pytest.approx(1 - 2.5 / 4.25)


def test_alpha_is_for_false_positives_and_beta_for_false_negatives() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    too_much, too_little = torch.ones(1, 1, 4, 4), mask.clone()
    too_little[..., 0, :] = 0
    assert float(tversky_loss(too_much, mask, 0.3, 0.7, smooth=1e-9)) == pytest.approx(1 - 8 / (8 + 0.3 * 8))
    assert float(tversky_loss(too_little, mask, 0.3, 0.7, smooth=1e-9)) == pytest.approx(1 - 4 / (4 + 0.7 * 4))


@given(st.integers(0, 99), weights, weights, st.floats(0.3, 4), st.booleans())
def test_focal_tversky_is_the_mean_of_powers(
    seed: int, alpha: float, beta: float, gamma: float, per_image: bool
) -> None:
    probabilities, masks = case(seed)
    distances = tversky_distance(probabilities, masks, alpha, beta, per_image).numpy()
    ours = tversky_loss(probabilities, masks, alpha, beta, gamma, per_image)
    assert float(ours) == pytest.approx((distances ** (1 / gamma)).mean(), rel=1e-9)


def test_focal_tversky_of_one_class_against_segmentation_models_pytorch() -> None:
    logits = torch.linspace(-3, 4, 40).reshape(2, 1, 4, 5)
    masks = (torch.arange(40).reshape(2, 1, 4, 5) % 3 == 0).long()
    theirs = smp.losses.TverskyLoss("multilabel", from_logits=True, smooth=1.0, alpha=0.3, beta=0.7, gamma=0.75)(
        logits, masks
    )
    ours = tversky_loss(logits.sigmoid(), masks, 0.3, 0.7, 4 / 3, per_image=False)
    torch.testing.assert_close(ours, theirs)


def test_focal_tversky_has_a_finite_gradient_where_nothing_is_wrong() -> None:
    mask = torch.zeros(1, 2, 4, 4)
    mask[0, 0, :2] = 1
    probabilities = mask.clone().requires_grad_()
    loss = tversky_loss(probabilities, mask, gamma=3.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert probabilities.grad is not None
    assert not probabilities.grad.any()


def test_a_class_that_no_film_shows_is_not_left_out() -> None:
    probabilities = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    loss = tversky_loss(probabilities, torch.zeros(1, 1, 4, 4), 1, 1, per_image=False)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(8 / 9)
    assert probabilities.grad is not None
    assert (probabilities.grad > 0).all()
