"""Optimizers by name."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer

from raycxr.config.optimizer import OptimizerSection


def build_optimizer(section: OptimizerSection, model: nn.Module) -> Optimizer:
    """Optimizer over a model's trainable parameters.

    Weight decay leaves biases and normalisation scales alone: they have one dimension, and pulling them to zero
    costs accuracy without regularising anything.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # Fused: one pass over the memory of all parameters. Adadelta has no such kernel.
    if section.name == "adamw":
        return AdamW(groups, lr=section.lr, betas=section.betas, fused=True)
    if section.name == "adam":
        return Adam(groups, lr=section.lr, betas=section.betas, fused=True)
    if section.name == "sgd":
        return SGD(groups, lr=section.lr, momentum=section.momentum, nesterov=section.momentum > 0, fused=True)
    return Adadelta(groups, lr=section.lr, rho=section.rho)
