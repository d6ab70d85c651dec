"""Lovasz hinge, a convex surrogate of one minus intersection over union (Berman 2018, arXiv 1705.08790)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raycxr.losses.precision import at_least_float32
from raycxr.losses.target import check_masks

# Not segmentation-models-pytorch's: it throws all classes of an image into one set, has no form in float64, and takes
# differences of almost equal float32 quotients, which puts single weights of a film of 1024 x 1024 off by a third.


def lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over images and classes of sum_k relu(e_k) (J_k - J_(k-1)), the same for any number of workers.

    e = 1 - x for logits x in the structure and 1 + x outside, in falling order, and J_k is one minus intersection
    over union of the mask and a prediction that is wrong in the first k pixels of that order.

    Of an empty mask any wrong pixel makes the whole of J: the loss is relu(1 + max(x)), with a gradient at the
    highest logit only, and 0 once all are at -1 or below.

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
    scores, masks = at_least_float32(logits).flatten(2), target.to(torch.bool).flatten(2)
    errors, order = torch.where(masks, 1 - scores, 1 + scores).sort(dim=2, descending=True)
    weights = _jaccard_steps(masks.gather(2, order)).to(errors.dtype)
    return (errors.relu() * weights).sum(dim=2).mean()


def symmetric_lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean of the Lovasz hinge of the structures and of what lies outside them, see `lovasz_hinge`.

    Every pixel of an empty mask has a gradient here, as the outside is then the whole film; the loss is 0 once all
    logits are at -1 or below.
    """
    return (lovasz_hinge(logits, target) + lovasz_hinge(-logits, ~target.to(torch.bool))) / 2


class LovaszHinge(nn.Module):
    """See `lovasz_hinge` and, where `symmetric`, `symmetric_lovasz_hinge`."""

    def __init__(self, symmetric: bool = False) -> None:
        super().__init__()
        self.symmetric = symmetric

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W) and masks (B, C, H, W)."""
        return symmetric_lovasz_hinge(logits, target) if self.symmetric else lovasz_hinge(logits, target)


def _jaccard_steps(wrong: Tensor) -> Tensor:
    """J_k - J_(k-1) along the last axis, float64, for pixels (..., P) that turn wrong one by one: true in the mask.

    A pixel of the mask takes 1 from the intersection, and any other adds 1 to the union.
    """
    missed = wrong.cumsum(dim=-1)
    size = missed[..., -1:]
    count = torch.arange(1, wrong.shape[-1] + 1, device=wrong.device)
    intersection, union = size - missed, size + count - missed
    before = (union - 1).clamp(min=1)
    # Of an empty mask the first pixel takes J from 0 to 1, and no other changes it.
    added = torch.where(union == 1, 1.0, intersection.double() / before)
    return torch.where(wrong, 1.0, added) / union
