"""The two kinds of target, and masks of each in one shape."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from raycxr.losses.precision import at_least_float32

Target = Literal["multilabel", "multiclass"]


def class_masks(target: Tensor, class_count: int) -> Tensor:
    """Return one boolean mask (B, C, H, W) per class of multi-class labels (B, H, W)."""
    classes = torch.arange(class_count, device=target.device).view(1, -1, 1, 1)
    return target.unsqueeze(1) == classes


def check_masks(logits: Tensor, target: Tensor) -> None:
    """Refuse multi-label masks that are not of the logits' shape (B, C, H, W): broadcasting would hide it."""
    if target.shape != logits.shape:
        raise ValueError(f"multi-label masks of shape {tuple(target.shape)} for logits of shape {tuple(logits.shape)}")


def check_labels(logits: Tensor, target: Tensor) -> None:
    """Refuse multi-class labels that are not of shape (B, H, W) for logits (B, C, H, W)."""
    if target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(f"multi-class labels of shape {tuple(target.shape)} for logits of shape {tuple(logits.shape)}")


def probabilities_and_masks(logits: Tensor, target: Tensor, kind: Target) -> tuple[Tensor, Tensor]:
    """Return probabilities (B, C, H, W), float32 or float64, and masks (B, C, H, W) of the same classes.

    Parameters
    ----------
    logits : Tensor
        (B, C, H, W), any floating type.
    target : Tensor
        Masks (B, C, H, W), or labels (B, H, W).
    kind : {"multilabel", "multiclass"}
        Sigmoid per class with masks, or softmax over the classes with labels.
    """
    if kind == "multilabel":
        check_masks(logits, target)
        return torch.sigmoid(at_least_float32(logits)), target
    check_labels(logits, target)
    return torch.softmax(at_least_float32(logits), dim=1), class_masks(target, logits.shape[1])
