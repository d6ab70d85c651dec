"""Averages of a model's weights, which generalise better than the last step's: exponential, and over epochs."""

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
        self.model = _frozen_copy(model)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, trained: nn.Module) -> None:
        """Move the average towards the trained weights and statistics."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        _move(self.model, trained, 1 - decay)


class EpochMean:
    """Mean of a model's weights at the ends of the last epochs of a run.

    Stochastic weight averaging (Izmailov 2018, arXiv 1803.05407, algorithm 1). Batch-norm statistics of the mean are
    those of no network until `raycxr.training.batch_statistics` has measured them anew.

    Parameters
    ----------
    model : nn.Module
        The trained model, not wrapped.
    first_epoch : int
        Epoch from whose end on weights are averaged, counted from 1.
    """

    def __init__(self, model: nn.Module, first_epoch: int) -> None:
        self.model = _frozen_copy(model)
        self.first_epoch = first_epoch
        self.epochs = 0

    @torch.no_grad()
    def after_epoch(self, epoch: int, trained: nn.Module) -> None:
        """Take the weights at the end of an epoch into the mean, if it is one of the last."""
        if epoch < self.first_epoch:
            return
        self.epochs += 1
        _move(self.model, trained, 1 / self.epochs)


def _frozen_copy(model: nn.Module) -> nn.Module:
    copy = deepcopy(model).eval()
    for parameter in copy.parameters():
        parameter.requires_grad_(False)
    return copy


def _move(average: nn.Module, trained: nn.Module, share: float) -> None:
    """Move an average by a share of the way to the trained weights and statistics."""
    for held, current in zip(average.state_dict().values(), trained.state_dict().values(), strict=True):
        if held.is_floating_point():
            held.lerp_(current, share)
        else:
            held.copy_(current)
