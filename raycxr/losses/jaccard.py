"""Soft Jaccard loss, one minus intersection over union (Rahman 2016, doi 10.1007/978-3-319-50835-1_22)."""

from __future__ import annotations

from torch import Tensor, nn

from raycxr.losses.target import Target, probabilities_and_masks
from raycxr.losses.tversky import tversky_distance

# Not segmentation-models-pytorch's, for the reasons in tversky.py.


def soft_jaccard_loss(probabilities: Tensor, target: Tensor, per_image: bool = True, smooth: float = 1.0) -> Tensor:
    """Return 1 - mean((sum(p t) + smooth) / (sum(p) + sum(t) - sum(p t) + smooth)).

    Parameters
    ----------
    probabilities : Tensor
        (B, C, H, W), float32 or float64, 0 to 1.
    target : Tensor
        Masks (B, C, H, W), 0 or 1, any type.
    per_image : bool
        Sums run over the pixels of each image, and the mean over images and classes: the same for any number of
        workers. Otherwise sums run over the pixels of the batch, and the mean over classes.
    smooth : float
        Pixels added to both sides, above 0. An empty mask has the loss sum(p) / (sum(p) + smooth): 0 where
        the prediction is empty too, and a gradient towards that otherwise.

    Returns
    -------
    Tensor
        Scalar in [0, 1).
    """
    return tversky_distance(probabilities, target, 1.0, 1.0, per_image, smooth).mean()


class SoftJaccard(nn.Module):
    """Soft Jaccard loss of logits, see `soft_jaccard_loss`; multi-class targets count the background as a class.

    Parameters
    ----------
    target : {"multilabel", "multiclass"}
        Sigmoid per class with masks (B, C, H, W), or softmax over the classes with labels (B, H, W).
    per_image, smooth
        As in `soft_jaccard_loss`.
    """

    def __init__(self, target: Target, per_image: bool = True, smooth: float = 1.0) -> None:
        super().__init__()
        self.target = target
        self.per_image = per_image
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W), computed in float32 or above."""
        probabilities, masks = probabilities_and_masks(logits, target, self.target)
        return soft_jaccard_loss(probabilities, masks, self.per_image, self.smooth)
