"""Exponential moving average of a model's weights, which generalises better than the last step's."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class WeightAverage:
    """A copy of a model whose weights follow the trained ones slowly.

    Parameters
    ----------
    model : nn.Module
        The trained model, not wrapped.
    decay : float
        Share that an old average keeps per step. The first steps use less, (1 + n) / (10 + n), so that the random
        start is forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, trained: nn.Module) -> None:
        """Move the average towards the trained weights and statistics."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for average, current in zip(self.model.state_dict().values(), trained.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)
