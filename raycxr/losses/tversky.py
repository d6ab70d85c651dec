"""Tversky loss: Dice that weighs false positives and false negatives apart (Salehi 2017, arXiv 1706.05721).

Two others are forms of it: the soft Jaccard loss, one minus intersection over union (Rahman 2016,
doi 10.1007/978-3-319-50835-1_22), and the focal Tversky loss, which stresses structures that are found badly
(Abraham 2018, arXiv 1810.07842).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raycxr.losses.target import Target, probabilities_and_masks

# Not segmentation-models-pytorch's: it sums over the batch only, and leaves out every class that is empty there, so
# that nothing would tell the network not to predict it. For the focal form it takes the power of the mean over
# classes, the paper that of each class.


def tversky_distance(
    probabilities: Tensor, target: Tensor, alpha: float, beta: float, per_image: bool = True, smooth: float = 1.0
) -> Tensor:
    """Return 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), for each image and class.

    TP = sum(p t), FP = sum(p (1 - t)) and FN = sum((1 - p) t).

    Parameters
    ----------
    probabilities : Tensor
        (B, C, H, W), float32 or float64, 0 to 1.
    target : Tensor
        Masks (B, C, H, W), 0 or 1, any type.
    alpha, beta : float
        Weights of false positives and of false negatives, above 0.
    per_image : bool
        Whether sums run over the pixels of each image; otherwise over those of the batch.
    smooth : float
        Pixels added to both sides, above 0. An empty mask has the distance alpha sum(p) / (alpha sum(p) + smooth):
        0 where the prediction is empty too, and a gradient towards that otherwise.

    Returns
    -------
    Tensor
        (B, C), or (C,) for sums over the batch, in [0, 1).
    """
    target = target.to(probabilities.dtype)
    pixels = (2, 3) if per_image else (0, 2, 3)
    overlap = (probabilities * target).sum(dim=pixels)
    false_positives = (probabilities * (1 - target)).sum(dim=pixels)
    false_negatives = ((1 - probabilities) * target).sum(dim=pixels)
    # As one quotient, which stays exact and above 0 where the overlap is almost whole.
    wrong = alpha * false_positives + beta * false_negatives
    return wrong / (overlap + wrong + smooth)


def tversky_loss(
    probabilities: Tensor,
    target: Tensor,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
    per_image: bool = True,
    smooth: float = 1.0,
) -> Tensor:
    """Return mean(d^(1 / gamma)) with d = `tversky_distance`, over classes, and over images where `per_image`.

    The mean over images is the same for any number of workers. alpha = beta = 0.5 is soft Dice (with half its
    `smooth`), and alpha = beta = 1 soft Jaccard. The loss of an empty mask is 0, with a finite gradient, where the
    prediction is exactly 0 everywhere, and has a gradient towards that otherwise.

    Parameters
    ----------
    probabilities, target, per_image, smooth
        As in `tversky_distance`.
    alpha, beta : float
        Weights of false positives and of false negatives, as in `tversky_distance`. Abraham 2018 calls them the other
        way round: its alpha = 0.7 is for false negatives.
    gamma : float
        Above 0. 1 is the Tversky loss; values above 1 flatten the loss of structures that are found badly.

    Returns
    -------
    Tensor
        Scalar in [0, 1).
    """
    distance = tversky_distance(probabilities, target, alpha, beta, per_image, smooth)
    if gamma == 1:
        return distance.mean()
    # A root has no slope at 0.
    positive = distance > 0
    powers = torch.where(positive, distance, 1).pow(1 / gamma)
    return torch.where(positive, powers, 0).mean()


class Tversky(nn.Module):
    """Tversky loss of logits, see `tversky_loss`; multi-class targets count the background as a class.

    Parameters
    ----------
    target : {"multilabel", "multiclass"}
        Sigmoid per class with masks (B, C, H, W), or softmax over the classes with labels (B, H, W).
    alpha, beta, gamma, per_image, smooth
        As in `tversky_loss`.
    """

    def __init__(
        self,
        target: Target,
        alpha: float,
        beta: float,
        gamma: float = 1.0,
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
        return tversky_loss(probabilities, masks, self.alpha, self.beta, self.gamma, self.per_image, self.smooth)
