"""Boundary loss: probability times the signed distance to the true boundary (Kervadec 2019, arXiv 1812.07032)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycxr.losses.target import Target, probabilities_and_masks


def signed_distance(masks: Tensor) -> Tensor:
    """Return the distance of every pixel to the boundary of its mask, in pixels, negative inside.

    Outside it is the distance to the nearest pixel of the mask, 1 or above; inside 1 minus the distance to the
    nearest pixel outside, 0 or below. A mask that is empty or covers the whole film has no boundary: 0 everywhere.

    Parameters
    ----------
    masks : Tensor
        (B, C, H, W), 0 or 1, any type. The distances are computed on the CPU: a GPU waits for them.

    Returns
    -------
    Tensor
        (B, C, H, W) float32, exact Euclidean distances, on the device of the masks.
    """
    insides = masks.to(torch.uint8).cpu().numpy()
    distances = np.zeros(insides.shape, np.float32)
    for index in np.ndindex(*insides.shape[:2]):
        if insides[index].any() and not insides[index].all():
            distances[index] = _signed_distance(insides[index])
    return torch.from_numpy(distances).to(masks.device)


def boundary_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return mean(p d) over images, classes and pixels, with d = `signed_distance` of the masks.

    It is the same for any number of workers. Its lowest value is below 0: the mean of the distances inside. As
    distances are in pixels it outweighs losses of the order of 1; the paper adds it to one of these with a weight
    of 0.01 at first. An empty mask has the loss 0 and no gradient, whatever the prediction: beside this loss another
    has to say that nothing is to be found there.

    Parameters
    ----------
    probabilities : Tensor
        (B, C, H, W), float32 or float64, 0 to 1.
    target : Tensor
        Masks (B, C, H, W), 0 or 1, any type.

    Returns
    -------
    Tensor
        Scalar, of either sign.
    """
    return (probabilities * signed_distance(target).to(probabilities.dtype)).mean()


class Boundary(nn.Module):
    """Boundary loss of logits, see `boundary_loss`; of multi-class targets the structures count, not the background.

    Parameters
    ----------
    target : {"multilabel", "multiclass"}
        Sigmoid per class with masks (B, C, H, W), or softmax over the classes with labels (B, H, W).
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (B, C, H, W), computed in float32 or above."""
        probabilities, masks = probabilities_and_masks(logits, target, self.target)
        first = 0 if self.target == "multilabel" else 1
        return boundary_loss(probabilities[:, first:], masks[:, first:])


def _signed_distance(inside: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Signed distance (H, W) of one mask of zeros and ones that has both."""
    to_inside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_outside = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distances: NDArray[np.float32] = np.where(inside, 1 - to_outside, to_inside)
    return distances
