from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from raycxr.errors import ConfigurationError
from raycxr.losses.choices import build_loss, check_image_loss
from raycxr.losses.image_bce import ImageBinaryCrossEntropy, image_binary_cross_entropy, structures_present
from raycxr.losses.target import Target


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 1000))
def test_it_is_the_log_loss_of_scikit_learn(images: int, structures: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, structures, generator=generator, dtype=torch.float64)
    present = torch.randint(0, 2, (images, structures), generator=generator)
    expected = log_loss(present.flatten(), torch.sigmoid(logits).flatten(), labels=[0, 1])
    assert image_binary_cross_entropy(logits, present).item() == pytest.approx(expected)


def test_a_structure_is_present_with_a_single_pixel() -> None:
    masks = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    masks[0, 1, 3, 4] = 1
    assert structures_present(masks, "multilabel", 3).tolist() == [[False, True, False], [False] * 3]
    labels = torch.zeros(2, 4, 5, dtype=torch.int64)
    labels[1, 0, 0] = 3
    assert structures_present(labels, "multiclass", 3).tolist() == [[False] * 3, [False, False, True]]


def test_logits_of_bfloat16_and_extreme_ones() -> None:
    loss = ImageBinaryCrossEntropy("multilabel")
    value = loss(torch.full((1, 1), -200.0, dtype=torch.bfloat16), torch.ones(1, 1, 2, 2))
    assert value.dtype == torch.float32
    assert value.item() == 200
    with pytest.raises(ValueError, match="presence of shape"):
        image_binary_cross_entropy(torch.zeros(2, 1), torch.zeros(2, 2))


@pytest.mark.parametrize("target", ["multilabel", "multiclass"])
def test_it_joins_the_weighted_sum(target: Target) -> None:
    generator = torch.Generator().manual_seed(0)
    channels = 3 if target == "multiclass" else 2
    logits, image_logits = torch.randn(4, channels, 8, 8, generator=generator), torch.randn(4, 2, generator=generator)
    truth = torch.randint(0, 2, (4, 8, 8) if target == "multiclass" else (4, 2, 8, 8), generator=generator)
    truth[0] = 0
    loss = build_loss({"dice": 2, "image_bce": 3}, target)
    parts = loss.parts(logits, truth, image_logits)
    alone = build_loss({"dice": 1}, target)(logits, truth)
    assert list(parts) == ["dice", "image_bce"]
    assert loss(logits, truth, image_logits).item() == pytest.approx(
        2 * alone.item() + 3 * ImageBinaryCrossEntropy(target)(image_logits, truth).item()
    )
    with pytest.raises(ValueError, match="without logits of an image-level head"):
        loss(logits, truth)


def test_no_images_give_no_gradient_but_one_to_wait_for() -> None:
    logits = torch.zeros(0, 1, 4, 4, requires_grad=True)
    image_logits = torch.zeros(0, 1, requires_grad=True)
    total = build_loss({"bce": 1, "image_bce": 1}, "multilabel")(logits, torch.zeros(0, 1, 4, 4), image_logits)
    assert total.item() == 0
    assert all(np.prod(gradient.shape) == 0 for gradient in torch.autograd.grad(total, [logits, image_logits]))


def test_what_makes_no_sense() -> None:
    with pytest.raises(ConfigurationError, match="image_bce alone trains no masks"):
        build_loss({"image_bce": 1}, "multilabel")
    with pytest.raises(ConfigurationError, match=r"loss\.image_bce needs an image-level head"):
        check_image_loss({"bce": 1, "image_bce": 1}, image_head=False)
    with pytest.raises(ConfigurationError, match="no loss trains the image-level head") as caught:
        check_image_loss({"bce": 1}, image_head=True)
    assert "loss.image_bce" in caught.value.remedy
    check_image_loss({"bce": 1, "image_bce": 1}, image_head=True)
    check_image_loss({"bce": 1}, image_head=False)
