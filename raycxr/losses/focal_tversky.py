"""Focal Tversky loss, which stresses structures that are found badly (Abraham 2018, arXiv 1810.07842)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raycxr.losses.target import Target, probabilities_and_masks
from raycxr.losses.tversky import tversky_distance

# Not segmentation-models-pytorch's: besides what tversky.py says, it takes the power of the mean over classes, the
# paper that of each class.


def focal_tversky_loss(
    probabilities: Tensor,
    target: Tensor,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
    per_image: bool = True,
    smooth: float = 1.0,
) -> Tensor:
    """Return mean(d^(1 / gamma)) with d = `tversky_distance`, over classes, and over images where `per_image`.

    The mean over images is the same for any number of workers. The loss of an empty mask is 0, without gradient,
    where the prediction is exactly 0 everywhere, and has a finite gradient towards that otherwise.

    Parameters
    ----------
    probabilities, target, per_image, smooth
        As in `tversky_distance`.
    alpha, beta : float
        Weights of false positives and of false negatives, as in `tversky_distance`. The paper calls them the other
        way round: its alpha = 0.7 is for false negatives.
    gamma : float
        Above 0; 1 is the Tversky loss. Values above 1 flatten the loss of structures that are found badly.

    Returns
    -------
    Tensor
        Scalar in [0, 1).
    """
    distance = tversky_distance(probabilities, target, alpha, beta, per_image, smooth)
    # A root has no slope at 0.
    positive = distance > 0
    powers = torch.where(positive, distance, 1).pow(1 / gamma)
    return torch.where(positive, powers, 0).mean()


class FocalTversky(nn.Module):
    """Focal Tversky loss of logits, see `focal_tversky_loss`; multi-class targets count the background as a class.

    Parameters
    ----------
    target : {"multilabel", "multiclass"}
        Sigmoid per class with masks (B, C, H, W), or softmax over the classes with labels (B, H, W).
    alpha, beta, gamma, per_image, smooth
        As in `focal_tversky_loss`.
    """

    def __init__(
        self,
        target: Target,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 4 / 3,
        per_image: bool = True,
        smooth: float = 1.0,
    ) -> None:
        super().__init__()
        self.target = target
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.per_image = per_image
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W), computed in float32 or above."""
        probabilities, masks = probabilities_and_masks(logits, target, self.target)
        return focal_tversky_loss(probabilities, masks, self.alpha, self.beta, self.gamma, self.per_image, self.smooth)
