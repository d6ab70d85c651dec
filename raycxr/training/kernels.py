"""Which of a GPU's kernels a training uses: those that repeat to the last bit, or those that are fastest."""

from __future__ import annotations

import os

import torch
import torch.utils.deterministic

from raycxr.config.train import TrainSection


def choose_kernels(section: TrainSection, device: torch.device) -> None:
    """Set torch's switches for this process, before its first step on a GPU; the kernels of a CPU repeat anyway.

    What autocast leaves in float32 is multiplied and convolved in TF32, whose mantissa has 10 bits, where the GPU has
    it. Predictions are not: see `full_float32`.

    With `train.deterministic`, a kernel that adds up in no fixed order gives way to one that does; where there is
    none, torch warns and names it. Without, cuDNN tries its kernels and takes the fastest for each shape.
    """
    if device.type != "cuda":
        return
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = not section.deterministic
    torch.backends.cudnn.deterministic = section.deterministic
    torch.use_deterministic_algorithms(section.deterministic, warn_only=True)
    # New memory need not be cleared: no step reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if section.deterministic:
        # cuBLAS reads it when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
