"""Overlap metrics summed over images during training, exact for any number of workers.

Workers add up sums and counts of images, never means: after an all-reduce of `OverlapSums.totals` every
worker has the mean over all images, whatever each of them saw. The metrics are those of `overlap.py` and, for
classes that some images do not have, the means of `presence.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from raycxr.metrics.presence import with_mean

PER_CLASS = ("dice", "iou", "precision", "recall", "pixel_accuracy")
OVER_CLASSES = ("label_accuracy", "mean_iou")
# Per class: images that have it, their Dice, those of them with a prediction, and images without it left empty.
_PRESENCE = ("positives", "dice of positives", "positives found", "negatives empty")


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
        float64 (3 + 9 C,): images, label accuracy and mean IoU, then Dice, IoU, precision, recall and pixel
        accuracy of each class, images that have it, their Dice, those of them with a prediction, and images
        without it and without a prediction, each summed over images. Sums of several workers may be added.
    """

    def __init__(self, class_count: int, device: torch.device) -> None:
        self.class_count = class_count
        self.totals = torch.zeros(_length(class_count), dtype=torch.float64, device=device)

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
        intersection, predicted, true = _count(prediction & target), _count(prediction), _count(target)
        size, union = predicted + true, predicted + true - intersection
        dice, iou = _ratio(2 * intersection, size), _ratio(intersection, union)
        per_class = torch.stack(
            [
                dice,
                iou,
                torch.where(size > 0, intersection / predicted.clamp(min=1), 1),
                torch.where(size > 0, intersection / true.clamp(min=1), 1),
                1 - (size - 2 * intersection) / pixels,
                (true > 0).double(),
                dice * (true > 0),
                ((true > 0) & (predicted > 0)).double(),
                ((true == 0) & (predicted == 0)).double(),
            ]
        )
        if self.class_count == 1:
            wrong_label, in_both, in_either = size - 2 * intersection, intersection, union
        else:
            any_predicted, any_true = _any(prediction), _any(target)
            wrong_label = _count(_any(prediction ^ target))
            in_both, in_either = _count(any_predicted & any_true), _count(any_predicted | any_true)
        # The background is the rest: it agrees where no mask is, and is missed at most where not both have one.
        background = _ratio(pixels - in_either, pixels - in_both)
        self.totals[0] += prediction.shape[0]
        self.totals[1] += (1 - wrong_label / pixels).sum()
        self.totals[2] += torch.cat([background, iou], dim=1).mean(dim=1).sum()
        self.totals[3:] += per_class.sum(dim=1).flatten()

    @staticmethod
    def result(totals: Tensor, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return metric -> class (and ``mean`` over classes) -> mean over images.

        Parameters
        ----------
        totals : Tensor
            Sums (3 + 9 C,), of one worker or added up over all.
        classes : sequence of str
            The C class names.

        Returns
        -------
        dict
            ``dice``, ``iou``, ``precision``, ``recall`` and ``pixel_accuracy`` with an entry per class and
            ``mean``; ``label_accuracy`` and ``mean_iou`` with ``mean`` only; NaN where no image was seen. Then
            the means of `presence.py`, for the classes for which they are defined.
        """
        if totals.shape != (_length(len(classes)),):
            raise ValueError(f"sums of shape {tuple(totals.shape)} for {len(classes)} classes")
        images, label_sum, iou_sum, *rest = totals.tolist()
        sums = [rest[start : start + len(classes)] for start in range(0, len(rest), len(classes))]
        result = {}
        for metric, of_classes in zip(PER_CLASS, sums, strict=False):
            values = [_mean(value, images) for value in of_classes]
            result[metric] = dict(zip(classes, values, strict=True)) | {"mean": sum(values) / len(values)}
        result["label_accuracy"] = {"mean": _mean(label_sum, images)}
        result["mean_iou"] = {"mean": _mean(iou_sum, images)}
        return result | _presence(images, [sums[0], *sums[len(PER_CLASS) :]], classes)


def _presence(images: float, sums: Sequence[Sequence[float]], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Means of `presence.py` from sums of the Dice and of what `_PRESENCE` names, each per class."""
    means: dict[str, dict[str, float]] = {}
    for name, dice, positives, of_positives, found, empty in zip(classes, *sums, strict=True):
        negatives = images - positives
        if negatives == 0:
            continue
        values = {
            "siim_score": dice / images,
            "floor": negatives / images,
            "dice_positive": _mean(of_positives, positives),
            "positives_found": _mean(found, positives),
            "negatives_empty": empty / negatives,
        }
        for metric, value in values.items():
            means.setdefault(metric, {})[name] = value
    complete = {metric: with_mean(values) for metric, values in means.items()}
    return {metric: values for metric, values in complete.items() if values}


def _length(class_count: int) -> int:
    return 1 + len(OVER_CLASSES) + (len(PER_CLASS) + len(_PRESENCE)) * class_count


def _mean(total: float, images: float) -> float:
    return total / images if images else float("nan")


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, numerator / denominator.clamp(min=1), 1)


def _any(masks: Tensor) -> Tensor:
    """Where (B, 1, H, W) any class is, of boolean masks (B, C, H, W)."""
    # Class by class, several times as fast on the CPU as torch's own reduction of booleans along an axis.
    return reduce(operator.or_, masks.unbind(dim=1)).unsqueeze(1)


def _count(masks: Tensor) -> Tensor:
    """Pixels (B, C) of boolean masks (B, C, H, W) in float64, which holds every count exactly."""
    return masks.flatten(2).sum(dim=2, dtype=torch.int32).to(torch.float64)
