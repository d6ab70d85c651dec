"""Boundary loss against scipy's distances and against what the paper says that it measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from raycxr.losses.boundary import Boundary, boundary_loss, signed_distance


def scipy_distance(mask: np.ndarray) -> np.ndarray:
    """Kervadec's map: Euclidean distances outside, and those inside less 1, negative."""
    outside: np.ndarray = distance_transform_edt(~mask) * ~mask
    inside: np.ndarray = (distance_transform_edt(mask) - 1) * mask
    distances: np.ndarray = outside - inside
    return distances


@given(st.integers(0, 999), st.floats(0.02, 0.98))
def test_distances_against_scipy(seed: int, share: float) -> None:
    masks = np.random.default_rng(seed).random((2, 2, 9, 13)) < share
    masks[..., 0, 0], masks[..., -1, -1] = True, False
    ours = signed_distance(torch.from_numpy(masks))
    assert ours.dtype == torch.float32
    expected = np.array([[scipy_distance(mask) for mask in image] for image in masks])
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)


def test_distances_of_a_large_structure() -> None:
    rows, columns = np.mgrid[:200, :300]
    mask = (rows - 90) ** 2 + (columns - 140) ** 2 < 60**2
    ours = signed_distance(torch.from_numpy(mask)[None, None])
    np.testing.assert_allclose(ours[0, 0].numpy(), scipy_distance(mask), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bool])
def test_masks_of_any_type(dtype: torch.dtype) -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 1, 2] = 1
    assert torch.equal(signed_distance(mask.to(dtype)), signed_distance(mask))


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_without_a_boundary_has_no_distances(value: int) -> None:
    masks = torch.full((1, 2, 5, 5), value)
    masks[0, 1, 2, 2] = 1 - value
    distances = signed_distance(masks)
    assert not distances[0, 0].any()
    assert distances[0, 1].any()
    probabilities = torch.full((1, 1, 5, 5), 0.7, requires_grad=True)
    loss = boundary_loss(probabilities, masks[:, :1])
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert probabilities.grad is not None
    assert not probabilities.grad.any()


def test_a_prediction_costs_more_the_further_it_lies_outside() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 2:8, 2:8] = 1
    losses = [float(boundary_loss(mask.roll(shift, dims=3), mask)) for shift in range(7)]
    assert losses == sorted(losses)
    # The mask itself: an edge at 0, then rings of 12 pixels at -1 and 4 at -2.
    assert losses[0] == pytest.approx(-(12 + 2 * 4) / 256)
    one_pixel = torch.zeros_like(mask)
    one_pixel[..., 2, 12] = 1
    assert float(boundary_loss(one_pixel, mask)) == pytest.approx(5 / 256)


def test_labels_count_as_structures_without_the_background() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 8), generator=generator)
    masks = torch.stack([labels == 1, labels == 2], dim=1)
    expected = boundary_loss(logits.softmax(dim=1)[:, 1:], masks)
    torch.testing.assert_close(Boundary("multiclass")(logits, labels), expected)
