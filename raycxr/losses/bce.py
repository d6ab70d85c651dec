"""Binary cross-entropy, for structures that may overlap; their pixels may weigh more, or less, than those outside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.losses.precision import at_least_float32
from raycxr.losses.target import check_masks


def binary_cross_entropy(logits: Tensor, target: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Return -mean(w t log p + (1 - t) log(1 - p)) over images, classes and pixels, with p = sigmoid(logits).

    The mean runs over the number of pixels, not over their weights, so that it is the same for any number of
    workers. The weight does not change the loss of an empty mask, which goes towards 0 for an empty prediction.

    Parameters
    ----------
    logits : Tensor
        (B, C, H, W), any floating type.
    target : Tensor
        Multi-label masks (B, C, H, W), 0 or 1, any type.
    positive_weight : float
        The weight w of pixels of a structure, above 0; those outside weigh 1.

    Returns
    -------
    Tensor
        Scalar, 0 or above; float32 (float64 for float64 logits). Finite for any finite logits.
    """
    check_masks(logits, target)
    logits = at_least_float32(logits)
    weight = None if positive_weight == 1 else logits.new_full((), positive_weight)
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), pos_weight=weight)


class BinaryCrossEntropy(nn.Module):
    """See `binary_cross_entropy`."""

    def __init__(self, positive_weight: float = 1.0) -> None:
        super().__init__()
        self.positive_weight = positive_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W) and masks (B, C, H, W)."""
        return binary_cross_entropy(logits, target, self.positive_weight)
