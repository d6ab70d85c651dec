"""Figures of one worker while it trains, for whoever watches a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

# Name -> what it is. On Ray they are metrics of the name ray_raycxr_NAME.
FIGURES = {
    "images_per_second": "Training images that this worker takes in a second",
    "data_wait_share": "Share of the training time that this worker waits for batches, 0 to 1",
    "step_seconds": "Seconds of an optimizer step",
    "gpu_memory_bytes": "Most bytes that tensors of this worker have taken on its GPU",
    "epoch": "Epochs that are done",
    "train_loss": "Loss on the training films, of the last epoch",
    "validation_loss": "Loss on the validation films, of the last epoch",
}


class Gauges(Protocol):
    """Where the figures are shown."""

    def show(self, figures: Mapping[str, float]) -> None:
        """Replace the figures of these names, which are among `FIGURES`."""


def epoch_figures(entry: Mapping[str, Any], device: torch.device) -> dict[str, float]:
    """Figures of an epoch, from its entry of the history."""
    figures = {
        "epoch": float(entry["epoch"]),
        "train_loss": entry["train"]["loss"],
        "validation_loss": entry["validation"]["loss"],
    }
    if device.type == "cuda":
        figures["gpu_memory_bytes"] = float(torch.cuda.max_memory_allocated(device))
    return figures
