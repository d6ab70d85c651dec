"""Batch-norm statistics: of averaged weights, measured by one pass over the training films; and of several workers.

Workers without synchronised batch norm see other films, and gather other statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raycxr.dataset.films import Batch
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import normalise
from raycxr.training.session import Session


@torch.no_grad()
def measure_batch_statistics(model: nn.Module, batches: Iterable[Batch], compute: Compute, session: Session) -> int:
    """Replace the running statistics of a model's batch norms by their means over all batches.

    As in stochastic weight averaging (Izmailov 2018, arXiv 1803.05407), except that dropout is off: what is measured
    is what the network computes when it predicts. Batch norms that stay in evaluation mode when the model trains keep
    their statistics. Each worker passes over its share of every batch; the mean over the workers is the same on all
    of them to the last bit.

    Returns
    -------
    int
        Films that all workers passed; 0 for a network without batch norm, which needs no pass.
    """
    norms = _measured_norms(model)
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        # The plain mean over batches in place of one that forgets.
        norm.momentum = None
        norm.train()
    films = 0
    for batch in batches:
        images = compute.arrange(normalise(batch.images.to(compute.device, non_blocking=True)))
        with compute.autocast():
            model(images)
        films += len(batch)
        session.progress.step()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return _take_mean(_statistics(norms), session, films)


@torch.no_grad()
def agree_on_batch_statistics(models: Sequence[nn.Module], session: Session) -> None:
    """Give all workers the running statistics of the first, so that all of them validate the network that is saved.

    Those of the first, which a checkpoint has, and no mean: a run that continues from one then learns the same.
    """
    norms = [module for model in models for module in model.modules() if isinstance(module, _BatchNorm)]
    statistics = _statistics(norms)
    if session.world_size == 1 or not statistics:
        return
    own = torch.cat(statistics)
    firsts = session.add_up(own if session.rank == 0 else torch.zeros_like(own))
    for values, first in zip(statistics, torch.split_with_sizes(firsts, [*map(len, statistics)]), strict=True):
        values.copy_(first)


def _measured_norms(model: nn.Module) -> list[_BatchNorm]:
    """Batch norms that follow the films in training; the model is left in evaluation mode."""
    model.train()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    model.eval()
    return [norm for norm in norms if norm.running_mean is not None]


def _statistics(norms: Sequence[_BatchNorm]) -> list[Tensor]:
    both = [values for norm in norms for values in (norm.running_mean, norm.running_var)]
    return [values for values in both if values is not None]


def _take_mean(statistics: Sequence[Tensor], session: Session, films: int = 0) -> int:
    """Replace vectors by their means over the workers, and return the sum of a count; the same bits on all of them."""
    shares = [values.double() / session.world_size for values in statistics]
    count = torch.tensor([films], dtype=torch.float64, device=session.device)
    sums = session.add_up(torch.cat([*shares, count]))
    *means, total = torch.split_with_sizes(sums, [*map(len, shares), 1])
    for values, mean in zip(statistics, means, strict=True):
        values.copy_(mean)
    return int(total.item())
