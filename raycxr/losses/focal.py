"""Focal loss: cross-entropy that fades where the prediction is right already (Lin 2017, arXiv 1708.02002)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.losses.precision import at_least_float32
from raycxr.losses.target import Target, check_labels, check_masks, class_masks

# Not segmentation-models-pytorch's: its gradient is NaN for a gamma below 1 where a pixel is right for certain, and
# for multi-class targets it takes a sigmoid of each class, which is not how these logits are read afterwards.


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Return -mean(a_t (1 - p_t)^gamma log p_t), with p_t = p in a structure and 1 - p outside, p = sigmoid(logits).

    The mean runs over images, classes and pixels, and is the same for any number of workers. Every pixel of an
    empty mask is one outside, of weight 1 - alpha: the loss goes towards 0 for an empty prediction.

    Parameters
    ----------
    logits : Tensor
        (B, C, H, W), any floating type.
    target : Tensor
        Multi-label masks (B, C, H, W), 0 or 1, any type.
    gamma : float
        How fast pixels fade that are right, 0 or above; 0 is weighted cross-entropy.
    alpha : float
        Weight a_t of pixels of a structure, 0 to 1; those outside weigh 1 - alpha.

    Returns
    -------
    Tensor
        Scalar, 0 or above; float32 (float64 for float64 logits). Finite for any finite logits.
    """
    check_masks(logits, target)
    logits, masks = at_least_float32(logits), target.to(torch.bool)
    agreement = torch.where(masks, logits, -logits)
    return _focal(F.logsigmoid(agreement), F.logsigmoid(-agreement), masks, gamma, alpha)


def softmax_focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Return -mean(a_t (1 - p_t)^gamma log p_t), with p_t = softmax(logits) of the pixel's label.

    The mean runs over images and pixels, and is the same for any number of workers; a film without structures is
    one of background, of weight 1 - alpha.

    Parameters
    ----------
    logits : Tensor
        (B, C, H, W), any floating type; C is 2 or above, class 0 is the background.
    target : Tensor
        Multi-class labels (B, H, W), integers 0 to C - 1.
    gamma : float
        As in `focal_loss`.
    alpha : float
        Weight a_t of pixels of any structure, 0 to 1; the background weighs 1 - alpha.

    Returns
    -------
    Tensor
        Scalar, 0 or above; float32 (float64 for float64 logits). Finite for any finite logits.
    """
    check_labels(logits, target)
    log_probabilities = torch.log_softmax(at_least_float32(logits), dim=1)
    log_right = log_probabilities.gather(1, target.to(torch.int64)[:, None])[:, 0]
    others = log_probabilities.masked_fill(class_masks(target, logits.shape[1]), -math.inf)
    return _focal(log_right, others.logsumexp(dim=1), target > 0, gamma, alpha)


class Focal(nn.Module):
    """Focal loss of logits, see `focal_loss` (multi-label) and `softmax_focal_loss` (multi-class).

    Parameters
    ----------
    target : {"multilabel", "multiclass"}
        Sigmoid per class with masks (B, C, H, W), or softmax over the classes with labels (B, H, W).
    gamma, alpha
        As in `focal_loss`.
    """

    def __init__(self, target: Target, gamma: float = 2.0, alpha: float = 0.25) -> None:
        super().__init__()
        self.target = target
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W), computed in float32 or above."""
        function = focal_loss if self.target == "multilabel" else softmax_focal_loss
        return function(logits, target, self.gamma, self.alpha)


def _focal(log_right: Tensor, log_wrong: Tensor, masks: Tensor, gamma: float, alpha: float) -> Tensor:
    """Mean of the loss, from the logarithms of p_t and 1 - p_t: a power of 1 - p_t itself has no slope at 0."""
    losses = -torch.exp(gamma * log_wrong) * log_right
    return torch.where(masks, alpha * losses, (1 - alpha) * losses).mean()
