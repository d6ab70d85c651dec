"""Focal loss against other implementations, and where those break down."""

from __future__ import annotations

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torchvision  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from raycxr.losses.cross_entropy import cross_entropy
from raycxr.losses.focal import focal_loss, softmax_focal_loss


def case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (2, 3, 4, 5) float64, masks and labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    masks = torch.randint(0, 2, (2, 3, 4, 5), generator=generator)
    return logits, masks, torch.randint(0, 3, (2, 4, 5), generator=generator)


@given(st.integers(0, 99), st.floats(1, 5), st.floats(0.01, 0.99))
def test_masks_against_torchvision_and_segmentation_models_pytorch(seed: int, gamma: float, alpha: float) -> None:
    logits, masks, _ = case(seed)
    ours = focal_loss(logits, masks, gamma, alpha)
    theirs = torchvision.ops.sigmoid_focal_loss(logits, masks.double(), alpha, gamma, reduction="mean")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours, smp.losses.FocalLoss("multilabel", alpha, gamma)(logits, masks))


@given(st.integers(0, 99), st.floats(0, 5), st.floats(0.01, 0.99))
def test_labels_against_numpy(seed: int, gamma: float, alpha: float) -> None:
    logits, _, labels = case(seed)
    log_p = np.take_along_axis(log_softmax(logits.numpy(), axis=1), labels.numpy()[:, None], axis=1)[:, 0]
    weights = np.where(labels.numpy() > 0, alpha, 1 - alpha)
    expected = -(weights * (1 - np.exp(log_p)) ** gamma * log_p).mean()
    assert float(softmax_focal_loss(logits, labels, gamma, alpha)) == pytest.approx(expected, rel=1e-9)


def test_labels_without_fading_or_weights_are_half_of_cross_entropy() -> None:
    logits, _, labels = case(0)
    torch.testing.assert_close(2 * softmax_focal_loss(logits, labels, 0.0, 0.5), cross_entropy(logits, labels))


@pytest.mark.parametrize("gamma", [0.0, 0.2, 0.5, 1.0, 2.0, 5.0])
def test_certain_pixels_have_finite_gradients_for_every_gamma(gamma: float) -> None:
    logits = torch.tensor([-1e30, -200.0, -40.0, 0.0, 40.0, 200.0, 1e30]).reshape(1, 1, 1, 7).requires_grad_()
    for mask in (torch.zeros(1, 1, 1, 7), torch.ones(1, 1, 1, 7)):
        (gradient,) = torch.autograd.grad(focal_loss(logits, mask, gamma), logits)
        assert gradient.isfinite().all()
    pair = torch.cat([logits, -logits], dim=1)
    for label in (0, 1):
        (gradient,) = torch.autograd.grad(
            softmax_focal_loss(pair, torch.full((1, 1, 7), label), gamma), logits, retain_graph=True
        )
        assert gradient.isfinite().all()


@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_gradients_agree_with_differences_for_every_gamma(gamma: float) -> None:
    logits, masks, labels = case(3)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda values: focal_loss(values, masks, gamma, 0.3), (logits,))
    assert torch.autograd.gradcheck(lambda values: softmax_focal_loss(values, labels, gamma, 0.3), (logits,))
