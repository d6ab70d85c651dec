"""Where and in which precision a worker computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raycxr.config.train import TrainSection
from raycxr.errors import ConfigurationError


@dataclass(frozen=True)
class Compute:
    """Device, autocast type (None: float32 throughout) and memory format."""

    device: torch.device
    autocast_dtype: torch.dtype | None
    channels_last: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Context of the forward pass."""
        dtype = self.autocast_dtype or torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.autocast_dtype is not None)

    def arrange(self, images: Tensor) -> Tensor:
        """Network input (B, C, H, W) in the memory format of the model."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, in the memory format that convolutions prefer."""
        if self.channels_last:
            return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return model.to(self.device)


def choose_compute(section: TrainSection, device: torch.device) -> Compute:
    """Follow the configuration's precision on this device.

    Raises
    ------
    ConfigurationError
        fp16 on a CPU, where it has no fast kernels.
    """
    if section.precision == "fp16" and device.type == "cpu":
        raise ConfigurationError("train.precision = 'fp16' needs a GPU", "choose auto, bf16 or fp32")
    dtype = {
        "auto": fastest_dtype(device),
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "fp32": None,
    }[section.precision]
    return Compute(device, dtype, section.channels_last)


def compute_of_trained(section: TrainSection, device: torch.device) -> Compute:
    """Follow the precision of a finished training, except fp16 on a CPU, which cannot compute in it."""
    if section.precision == "fp16" and device.type == "cpu":
        section = section.model_copy(update={"precision": "auto"})
    return choose_compute(section, device)


@contextmanager
def full_float32() -> Iterator[None]:
    """Within the body, compute float32 in float32 on GPUs, too, not in TF32, whose mantissa has 10 bits."""
    allowed, precision = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
        torch.set_float32_matmul_precision(precision)


def fastest_dtype(device: torch.device) -> torch.dtype | None:
    """Return what autocast computes in where nothing is asked for; None: float32.

    GPUs before Ampere multiply float16 in their tensor cores, which came with compute capability 7.0, and no bfloat16.
    """
    if has_fast_bfloat16(device):
        return torch.bfloat16
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0):
        return torch.float16
    return None


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 autocast pays on this device.

    On CPUs that takes AMX tiles (1.9 to 2.6 times as fast as float32 there). With the older AVX-512 instructions
    alone it was measured slower than float32: 2.2 against 1.8 seconds a step of the ResNet18 U-Net.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
