"""Soft Dice loss (Milletari 2016, arXiv 1606.04797, with plain instead of squared sums)."""

from __future__ import annotations

from torch import Tensor, nn

from raycxr.losses.target import Target, probabilities_and_masks


def soft_dice_loss(probabilities: Tensor, target: Tensor, per_image: bool = True, smooth: float = 1.0) -> Tensor:
    """Return 1 - mean((2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)).

    Parameters
    ----------
    probabilities : Tensor
        (B, C, H, W), float32 or float64, 0 to 1.
    target : Tensor
        Masks (B, C, H, W), 0 or 1, any type.
    per_image : bool
        Sums run over the pixels of each image, and the mean over images and classes: the metric itself, and
        the same for any number of workers. Otherwise sums run over the pixels of the batch, and the mean over
        classes: gentler where most masks are empty.
    smooth : float
        Pixels added to both sides, above 0. An empty mask has the loss sum(p) / (sum(p) + smooth): 0 where
        the prediction is empty too, and a gradient towards that otherwise.

    Returns
    -------
    Tensor
        Scalar in [0, 1).
    """
    target = target.to(probabilities.dtype)
    pixels = (2, 3) if per_image else (0, 2, 3)
    intersection = (probabilities * target).sum(dim=pixels)
    size = probabilities.sum(dim=pixels) + target.sum(dim=pixels)
    return 1 - ((2 * intersection + smooth) / (size + smooth)).mean()


class SoftDice(nn.Module):
    """Soft Dice loss of logits, see `soft_dice_loss`; multi-class targets count the background as a class.

    Parameters
    ----------
    target : {"multilabel", "multiclass"}
        Sigmoid per class with masks (B, C, H, W), or softmax over the classes with labels (B, H, W).
    per_image, smooth
        As in `soft_dice_loss`.
    """

    def __init__(self, target: Target, per_image: bool = True, smooth: float = 1.0) -> None:
        super().__init__()
        self.target = target
        self.per_image = per_image
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W), computed in float32 or above."""
        probabilities, masks = probabilities_and_masks(logits, target, self.target)
        return soft_dice_loss(probabilities, masks, self.per_image, self.smooth)
