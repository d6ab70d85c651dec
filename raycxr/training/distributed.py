"""What the workers of one run do together: average gradients, and add up."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def average_gradients(model: nn.Module, device: torch.device, world_size: int, sync_batch_norm: bool) -> nn.Module:
    """Model in DistributedDataParallel where there are several workers.

    Its batch norms are replaced in place, with the same parameters and statistics under the same names: the optimizer,
    checkpoints and copies that were made before go on to fit.
    """
    if world_size == 1:
        return model
    on_gpu = device.type == "cuda"
    if on_gpu and sync_batch_norm:
        model = synchronised(model)
    return DistributedDataParallel(model, device_ids=[device] if on_gpu else None)


def synchronised(model: nn.Module) -> nn.Module:
    """Model whose batch norms measure over all workers; they need a GPU."""
    # Torch's own function would drop the activations that timm keeps inside its batch norms.
    from timm.layers import convert_sync_batchnorm

    converted: nn.Module = convert_sync_batchnorm(model)
    return converted


def exchange(wrapped: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Context of one forward and backward pass of an optimizer step.

    Gradients that are added up over passes need to travel once: with the last of them.

    Parameters
    ----------
    wrapped : nn.Module
        What `average_gradients` returned.
    last : bool
        Whether this is the step's last pass.
    """
    if last or not isinstance(wrapped, DistributedDataParallel):
        return nullcontext()
    context: AbstractContextManager[None] = wrapped.no_sync()
    return context


def sum_over_workers(values: torch.Tensor, world_size: int) -> torch.Tensor:
    """Sum over all workers, in place."""
    if world_size > 1:
        torch.distributed.all_reduce(values)
    return values
