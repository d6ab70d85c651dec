"""Binary cross-entropy, for structures that may overlap."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.losses.precision import at_least_float32
from raycxr.losses.target import check_masks


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -mean(t log p + (1 - t) log(1 - p)) over images, classes and pixels, with p = sigmoid(logits).

    Parameters
    ----------
    logits : Tensor
        (B, C, H, W), any floating type.
    target : Tensor
        Multi-label masks (B, C, H, W), 0 or 1, any type.

    Returns
    -------
    Tensor
        Scalar, 0 or above; float32 (float64 for float64 logits). Finite for any finite logits.
    """
    check_masks(logits, target)
    logits = at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


class BinaryCrossEntropy(nn.Module):
    """See `binary_cross_entropy`."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W) and masks (B, C, H, W)."""
        return binary_cross_entropy(logits, target)
