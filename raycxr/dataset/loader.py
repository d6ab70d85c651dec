"""Batches for training and for validation, divided among workers without losing or repeating a film's turn."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from raycxr.dataset.films import Batch, Key
from raycxr.dataset.sampling import EpochOrder

# Loading processes beyond this many per training worker have nothing left to do.
MOST_LOADERS = 8


class BatchLoader(Protocol):
    """Batches of a split, epoch after epoch; which films are in them is decided by a `BatchSampler`."""

    def __len__(self) -> int:
        """Batches of a whole epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches of the sampler's epoch. Loading begins with this call, not with the first batch."""


class BatchSampler(Protocol):
    """Keys of the films of each batch.

    Attributes
    ----------
    films_per_batch : int
        At most.
    """

    films_per_batch: int

    def __len__(self) -> int:
        """Batches of a whole epoch."""

    def __iter__(self) -> Iterator[list[Key]]:
        """Keys of one batch after the other."""


class TrainSampler:
    """Batches of keys, the same films in a step for any number of workers.

    Step s takes the s-th run of `batch_size` films of the epoch's order; a worker takes its share of each accumulation
    part. The last step is filled up from the start of the order, so every film of the order is seen at least once and
    every batch is whole. A film that comes again in the epoch has a turn of its own, and with it changes of its own.

    Parameters
    ----------
    order : EpochOrder
        The films of every epoch.
    batch_size : int
        Films per optimizer step, over all workers and accumulation parts.
    parts : int
        Forward passes per optimizer step.
    rank, world_size : int
        This worker, and how many there are.

    Attributes
    ----------
    epoch : int
        The epoch that the next iteration goes through.
    first_batch : int
        Batches to leave out at the start of that epoch, for one that was broken off; the others keep their keys.
    """

    def __init__(self, order: EpochOrder, batch_size: int, parts: int, rank: int, world_size: int) -> None:
        self.order, self.batch_size, self.parts = order, batch_size, parts
        self.rank, self.world_size = rank, world_size
        self.films_per_batch = batch_size // (parts * world_size)
        self.epoch = 0
        self.first_batch = 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return -(-self.order.films // self.batch_size) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        steps = -(-self.order.films // self.batch_size)
        filled = np.resize(self.order.positions(self.epoch), steps * self.batch_size)
        seen: Counter[int] = Counter()
        keys = []
        # Over the films of all workers: whose turn a key is does not depend on how many there are.
        for position in filled.tolist():
            keys.append(Key(self.epoch, position, seen[position]))
            seen[position] += 1
        shares = np.arange(len(keys)).reshape(steps, self.parts, -1, self.world_size)[..., self.rank]
        for share in shares.reshape(steps * self.parts, -1)[self.first_batch :]:
            yield [keys[number] for number in share]


class EvaluationSampler:
    """Every film exactly once over all workers, in order."""

    def __init__(self, films: int, batch_size: int, rank: int, world_size: int) -> None:
        self.positions = list(range(rank, films, world_size))
        self.films_per_batch = batch_size

    def __len__(self) -> int:
        return -(-len(self.positions) // self.films_per_batch)

    def __iter__(self) -> Iterator[list[Key]]:
        for start in range(0, len(self.positions), self.films_per_batch):
            yield [Key(0, position) for position in self.positions[start : start + self.films_per_batch]]


def default_loader_workers(cpus: int, on_gpu: bool) -> int:
    """Loading processes for a training worker with this many CPUs.

    On a GPU all CPUs but one load; on a CPU one process keeps up with the network and leaves it the cores.
    """
    return max(1, min(MOST_LOADERS, cpus - 1)) if on_gpu else 1


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))
