"""Weighted binary cross-entropy against its formula and torch's loss without weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from raycxr.losses.bce import binary_cross_entropy


def case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 2, 5, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 2, (2, 2, 5, 4), generator=generator, dtype=torch.uint8)


@given(st.floats(1e-3, 1e3))
def test_pixels_of_a_structure_have_the_weight(weight: float) -> None:
    logits, masks = case()
    probabilities, inside = logits.sigmoid(), masks.bool()
    total = -weight * probabilities[inside].log().sum() - (1 - probabilities[~inside]).log().sum()
    expected = float(total) / logits.numel()
    assert float(binary_cross_entropy(logits, masks, weight)) == pytest.approx(expected, rel=1e-9)


def test_a_weight_of_one_changes_nothing_and_empty_masks_have_none() -> None:
    logits, masks = case()
    plain = F.binary_cross_entropy_with_logits(logits, masks.double())
    torch.testing.assert_close(binary_cross_entropy(logits, masks, 1.0), plain)
    empty = torch.zeros_like(masks)
    plain = F.binary_cross_entropy_with_logits(logits, empty.double())
    torch.testing.assert_close(binary_cross_entropy(logits, empty, 9.0), plain)
