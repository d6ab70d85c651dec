"""Batch-norm statistics measured anew: as torch's own function for averaged weights measures them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from raycxr.dataset.films import Batch
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import normalise
from raycxr.storage.location import Location
from raycxr.training.batch_statistics import measure_batch_statistics
from raycxr.training.session import LocalSession

COMPUTE = Compute(torch.device("cpu"), None, channels_last=True)


class Frozen(nn.BatchNorm2d):
    """A batch norm that keeps the statistics it came with."""

    def train(self, mode: bool = True) -> Frozen:
        super().train(False)
        return self


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), Frozen(4),
        nn.Conv2d(4, 2, 3, padding=1), nn.BatchNorm2d(2, momentum=0.3),
    )  # fmt: skip


def batches(count: int) -> list[Batch]:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    fields = torch.zeros(3, 8, 8, dtype=torch.uint8)
    return [Batch(batch, fields, ["a", "b", "c"], torch.ones(3, dtype=torch.bool)) for batch in images]


def statistics(model: nn.Module) -> list[Tensor]:
    return [value for name, value in model.state_dict().items() if "running" in name]


def measure(model: nn.Module, seen: Iterable[Batch], run: Path) -> int:
    session = LocalSession(Location(run), 1, "max", resume=False)
    films = measure_batch_statistics(model, seen, COMPUTE, session)
    session.close()
    return films


def test_the_statistics_are_those_of_torch(tmp_path: Path) -> None:
    ours, theirs = network(), network()
    seen = batches(4)
    update_bn([normalise(batch.images) for batch in seen], theirs)
    assert measure(ours, seen, tmp_path) == 12
    for one, two in zip(statistics(ours), statistics(theirs), strict=True):
        torch.testing.assert_close(one, two)
    assert not ours.training
    assert not any(module.training for module in ours.modules())
    assert [module.momentum for module in ours if isinstance(module, nn.BatchNorm2d)] == [0.1, 0.1, 0.3]


def test_frozen_statistics_and_dropout(tmp_path: Path) -> None:
    plain, dropping = network(), network(dropout=0.5)
    measure(plain, batches(3), tmp_path)
    measure(dropping, batches(3), tmp_path)
    for one, two in zip(statistics(plain), statistics(dropping), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(dropping.state_dict()["4.running_mean"], torch.zeros(4))


def test_a_network_without_batch_norm_needs_no_pass(tmp_path: Path) -> None:
    unread = iter(batches(2))
    assert measure(nn.Conv2d(1, 1, 1), unread, tmp_path) == 0
    assert len(list(unread)) == 2


class SharedSession(LocalSession):
    """One of two workers in threads, which add up by waiting for each other."""

    world_size = 2

    def __init__(self, run: Path, barrier: threading.Barrier, held: list[Tensor]) -> None:
        super().__init__(Location(run), 1, "max", resume=False)
        self.barrier, self.held = barrier, held

    def add_up(self, values: Tensor) -> Tensor:
        self.held.append(values)
        self.barrier.wait(60)
        return torch.stack(self.held).sum(dim=0)


def test_two_workers_measure_the_same_together(tmp_path: Path) -> None:
    seen, alone = batches(4), network()
    workers = [deepcopy(alone), deepcopy(alone)]
    measure(alone, seen, tmp_path)
    barrier, held = threading.Barrier(2), list[Tensor]()
    sessions = [SharedSession(tmp_path, barrier, held) for _ in workers]
    threads = [
        threading.Thread(target=measure_batch_statistics, args=(model, seen[rank::2], COMPUTE, session))
        for rank, (model, session) in enumerate(zip(workers, sessions, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for single, one, two in zip(*map(statistics, [alone, *workers]), strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one, single)
