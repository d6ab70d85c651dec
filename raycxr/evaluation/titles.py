"""How metrics are named for people, and which of them belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TITLES = {
    "dice": "Dice",
    "iou": "Jaccard",
    "precision": "precision",
    "recall": "recall",
    "pixel_accuracy": "pixel accuracy",
    "label_accuracy": "all labels right",
    "mean_iou": "mean Jaccard with background",
    "hd95": "HD95",
    "assd": "ASSD",
    "surface_dice": "surface Dice",
    "lesion_dice": "lesion-wise Dice",
    "siim_score": "SIIM score",
    "floor": "its floor",
    "dice_positive": "Dice of positives",
    "positives_found": "positives found",
    "negatives_empty": "negatives left empty",
    "auc": "AUC of films",
    "calibration_error": "calibration error",
    "image_calibration_error": "calibration error of films",
}
_DISTANCES = ("hd95", "assd")

# What the terminal shows of structures that every film has, and of those that some films do not have.
ORGANS = ("dice", "iou", "hd95", "assd", "surface_dice")
LESIONS = ("siim_score", "floor", "dice_positive", "positives_found", "negatives_empty", "auc")
OF_ALL_CLASSES = ("label_accuracy", "mean_iou")
# Everything, as the page shows it.
GROUPS = {
    "Found or not": (*LESIONS, "image_calibration_error"),
    "Overlap": ("dice", "iou", "precision", "recall", "pixel_accuracy"),
    "Outline": ("hd95", "assd", "surface_dice"),
    "Lesions and probabilities": ("lesion_dice", "calibration_error"),
    "All classes together": OF_ALL_CLASSES,
}


def title(name: str, summary: Mapping[str, Any]) -> str:
    """Name of a metric for people, with its unit or tolerance in this summary."""
    if name in _DISTANCES:
        return f"{_TITLES[name]} ({summary['unit']})"
    if name == "surface_dice":
        return f"{_TITLES[name]} at {summary['surface_tolerance']:g} {summary['unit']}"
    return _TITLES[name]


def figure(value: float, name: str) -> str:
    """A value with the digits of its metric."""
    digits = 2 if name in _DISTANCES else 4 if name == "calibration_error" else 3
    return f"{value:.{digits}f}"


def left_out(summary: Mapping[str, Any], structures: Sequence[str]) -> list[str]:
    """One sentence per metric that is undefined on films of these structures."""
    sentences = []
    for name, missing in summary["undefined"].items():
        counts = ", ".join(f"{missing[structure]} of {structure}" for structure in structures if structure in missing)
        if counts:
            sentences.append(
                f"{title(name, summary)} is undefined where the true or the found mask is empty: {counts} left out"
            )
    return sentences
