"""Lovasz hinge against the paper word by word and against segmentation-models-pytorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st

from raycxr.losses.lovasz import lovasz_hinge, symmetric_lovasz_hinge


def jaccard_loss(mask: np.ndarray, wrong: set[int]) -> float:
    """One minus intersection over union of a mask and a prediction that is wrong in some pixels."""
    prediction = np.array([bool(value) != (index in wrong) for index, value in enumerate(mask)])
    union = int((prediction | mask).sum())
    return 0.0 if union == 0 else 1 - int((prediction & mask).sum()) / union


def lovasz_extension(errors: np.ndarray, mask: np.ndarray) -> float:
    """Equation 8 of the paper, with the set function evaluated as it stands."""
    order = [int(index) for index in np.argsort(-errors, kind="stable")]
    steps = [jaccard_loss(mask, set(order[: k + 1])) - jaccard_loss(mask, set(order[:k])) for k in range(len(order))]
    return sum(float(errors[index]) * step for index, step in zip(order, steps, strict=True))


def hinge(logits: np.ndarray, mask: np.ndarray) -> float:
    errors = np.maximum(1 - logits * np.where(mask, 1, -1), 0)
    return lovasz_extension(errors, mask)


@given(st.integers(0, 999), st.floats(0, 1))
def test_against_the_paper(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    logits, masks = random.normal(0, 2, (2, 2, 3, 4)), random.random((2, 2, 3, 4)) < share
    maps = list(itertools.product(range(2), range(2)))
    expected = np.mean([hinge(logits[place].ravel(), masks[place].ravel()) for place in maps])
    outside = np.mean([hinge(-logits[place].ravel(), ~masks[place].ravel()) for place in maps])
    ours, truth = torch.from_numpy(logits), torch.from_numpy(masks)
    assert float(lovasz_hinge(ours, truth)) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert float(symmetric_lovasz_hinge(ours, truth)) == pytest.approx((expected + outside) / 2, rel=1e-9, abs=1e-12)


def test_against_segmentation_models_pytorch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(3, 2, 16, 16, generator=generator)
    masks = (torch.rand(3, 2, 16, 16, generator=generator) < 0.2).to(torch.int64)
    # Theirs takes the classes of an image together: as images of their own they are apart.
    theirs = smp.losses.LovaszLoss("multilabel", per_image=True)(
        logits.reshape(6, 1, 16, 16), masks.reshape(6, 1, 16, 16)
    )
    torch.testing.assert_close(lovasz_hinge(logits, masks), theirs)


@pytest.mark.parametrize("size", [1, 2, 16])
def test_of_certain_predictions_it_is_the_jaccard_loss(size: int) -> None:
    """At logits of -1 and 1 hinge errors are 0 or 2: twice the loss of the prediction itself."""
    generator = torch.Generator().manual_seed(size)
    for _ in range(20):
        masks, predictions = (torch.rand(2, 1, 1, size, size, generator=generator) < 0.4).unbind()
        union = int((masks | predictions).sum())
        expected = 0.0 if union == 0 else 2 * (1 - int((masks & predictions).sum()) / union)
        assert float(lovasz_hinge(predictions * 2.0 - 1, masks)) == pytest.approx(expected, abs=1e-6)


def test_of_an_empty_mask_only_the_highest_logit_counts() -> None:
    logits = torch.tensor([-3.0, 0.5, -0.5, 2.0]).reshape(1, 1, 2, 2).requires_grad_()
    loss = lovasz_hinge(logits, torch.zeros(1, 1, 2, 2))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 3
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [0, 0, 0, 1]
    below = torch.full((1, 1, 2, 2), -1.0)
    assert float(lovasz_hinge(below, torch.zeros(1, 1, 2, 2))) == 0
    assert float(symmetric_lovasz_hinge(below, torch.zeros(1, 1, 2, 2))) == 0


def test_structure_and_outside_are_alike_in_the_symmetric_form() -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(1, 2, 6, 6, generator=generator)
    masks = torch.rand(1, 2, 6, 6, generator=generator) < 0.1
    torch.testing.assert_close(symmetric_lovasz_hinge(logits, masks), symmetric_lovasz_hinge(-logits, ~masks))
    assert abs(float(lovasz_hinge(logits, masks) - lovasz_hinge(-logits, ~masks))) > 0.01


def test_gradients_of_a_large_film_keep_their_digits() -> None:
    """A step of J is about 1 / 2^20 here: as a difference of float32 numbers it would be off by up to a third."""
    size = 1024
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    mask[..., : size // 4] = True
    logits = torch.linspace(1, 2, size * size).reshape(1, 1, size, size).requires_grad_()
    lovasz_hinge(logits, mask).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    positives, pixels = size * size // 4, size * size
    outside = logits.grad[~mask].double().sort(descending=True).values
    union = torch.arange(positives + 1, pixels + 1, dtype=torch.float64)
    # The whole mask stays predicted: k wrong pixels outside make J = 1 - positives / (positives + k).
    torch.testing.assert_close(outside, positives / (union * (union - 1)), rtol=1e-6, atol=0)
