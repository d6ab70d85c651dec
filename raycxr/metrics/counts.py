"""Overlap metrics summed over images during training, exact for any number of workers.

Workers add up sums and counts of images, never means: after an all-reduce of `OverlapSums.totals` every
worker has the mean over all images, whatever each of them saw. The metrics are those of `overlap.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

_PER_CLASS = ("dice", "iou", "pixel_accuracy")


class OverlapSums:
    """Per-image overlap metrics, added up over images.

    Parameters
    ----------
    class_count : int
        Number of classes C.
    device : torch.device
        Where the sums are kept; updates wait for no copy from there.

    Attributes
    ----------
    totals : Tensor
        float64 (2 + 3 C,): images, label accuracy, then Dice, IoU and pixel accuracy of each class, each
        summed over images. Sums of several workers may be added.
    """

    def __init__(self, class_count: int, device: torch.device) -> None:
        self.class_count = class_count
        self.totals = torch.zeros(2 + len(_PER_CLASS) * class_count, dtype=torch.float64, device=device)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add a batch of boolean masks (B, C, H, W)."""
        if prediction.shape != target.shape or prediction.ndim != 4 or prediction.shape[1] != self.class_count:
            raise ValueError(
                f"masks must be (B, {self.class_count}, H, W) and alike, "
                f"got {tuple(prediction.shape)} and {tuple(target.shape)}"
            )
        if prediction.dtype != torch.bool or target.dtype != torch.bool:
            raise ValueError(f"masks must be boolean, got {prediction.dtype} and {target.dtype}")
        pixels = prediction.shape[2] * prediction.shape[3]
        intersection = _count(prediction & target)
        size = _count(prediction) + _count(target)
        union = size - intersection
        per_class = torch.stack(
            [
                torch.where(size > 0, 2 * intersection / size.clamp(min=1), 1),
                torch.where(union > 0, intersection / union.clamp(min=1), 1),
                1 - (size - 2 * intersection) / pixels,
            ]
        )
        # Class by class, several times as fast on the CPU as torch's own reduction of booleans along an axis.
        wrong_label = reduce(operator.or_, (prediction ^ target).unbind(dim=1)).unsqueeze(1)
        self.totals[0] += prediction.shape[0]
        self.totals[1] += (1 - _count(wrong_label) / pixels).sum()
        self.totals[2:] += per_class.sum(dim=1).flatten()

    @staticmethod
    def result(totals: Tensor, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return metric -> class (and ``mean`` over classes) -> mean over images.

        Parameters
        ----------
        totals : Tensor
            Sums (2 + 3 C,), of one worker or added up over all.
        classes : sequence of str
            The C class names.

        Returns
        -------
        dict
            ``dice``, ``iou`` and ``pixel_accuracy`` with an entry per class and ``mean``; ``label_accuracy``
            with ``mean`` only. NaN where no image was seen.
        """
        if totals.shape != (2 + len(_PER_CLASS) * len(classes),):
            raise ValueError(f"sums of shape {tuple(totals.shape)} for {len(classes)} classes")
        images, label_sum, *sums = totals.tolist()
        means = [value / images if images else float("nan") for value in sums]
        result = {}
        for index, metric in enumerate(_PER_CLASS):
            values = means[index * len(classes) : (index + 1) * len(classes)]
            result[metric] = dict(zip(classes, values, strict=True)) | {"mean": sum(values) / len(values)}
        result["label_accuracy"] = {"mean": label_sum / images if images else float("nan")}
        return result


def _count(masks: Tensor) -> Tensor:
    """Pixels (B, C) of boolean masks (B, C, H, W) in float64, which holds every count exactly."""
    return masks.flatten(2).sum(dim=2, dtype=torch.int32).to(torch.float64)
