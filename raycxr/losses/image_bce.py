"""Binary cross-entropy of an image-level head: does the film show the structure at all?"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.losses.precision import at_least_float32
from raycxr.losses.target import Target, class_masks


def image_binary_cross_entropy(image_logits: Tensor, present: Tensor) -> Tensor:
    """Return -mean(t log p + (1 - t) log(1 - p)) over images and structures, with p = sigmoid(image_logits).

    Parameters
    ----------
    image_logits : Tensor
        (B, C), any floating type.
    present : Tensor
        (B, C), 0 or 1, any type: whether the film shows the structure.

    Returns
    -------
    Tensor
        Scalar, 0 or above; float32 (float64 for float64 logits). Finite for any finite logits.
    """
    if present.shape != image_logits.shape:
        raise ValueError(f"presence of shape {tuple(present.shape)} for logits of shape {tuple(image_logits.shape)}")
    image_logits = at_least_float32(image_logits)
    return F.binary_cross_entropy_with_logits(image_logits, present.to(image_logits.dtype))


def structures_present(target: Tensor, kind: Target, structures: int) -> Tensor:
    """Return (B, structures) bool: whether a structure has a pixel in the film's own mask.

    Parameters
    ----------
    target : Tensor
        Masks (B, C, H, W), or labels (B, H, W), whose 0 is background.
    kind : {"multilabel", "multiclass"}
        Which of the two.
    structures : int
        Structures, without background.
    """
    masks = target.bool() if kind == "multilabel" else class_masks(target, structures + 1)[:, 1:]
    return masks.flatten(2).any(dim=2)


class ImageBinaryCrossEntropy(nn.Module):
    """See `image_binary_cross_entropy` and `structures_present`."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target: Target = target

    def forward(self, image_logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of image logits (B, structures) and masks (B, C, H, W) or labels (B, H, W)."""
        present = structures_present(target, self.target, image_logits.shape[1])
        return image_binary_cross_entropy(image_logits, present)
