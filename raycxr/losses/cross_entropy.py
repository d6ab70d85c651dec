"""Categorical cross-entropy, for structures that exclude each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.losses.precision import at_least_float32
from raycxr.losses.target import check_labels


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return -mean(log p[label]) over images and pixels, with p = softmax(logits) over the classes.

    Parameters
    ----------
    logits : Tensor
        (B, C, H, W), any floating type; class 0 is the background.
    target : Tensor
        Multi-class labels (B, H, W), integers 0 to C - 1.

    Returns
    -------
    Tensor
        Scalar, 0 or above; float32 (float64 for float64 logits).
    """
    check_labels(logits, target)
    return F.cross_entropy(at_least_float32(logits), target.to(torch.int64))


class CrossEntropy(nn.Module):
    """See `cross_entropy`."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W) and labels (B, H, W)."""
        return cross_entropy(logits, target)
