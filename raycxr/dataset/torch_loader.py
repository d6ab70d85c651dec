"""Batches made by processes of this node, which stay from epoch to epoch.

Torch hands a batch from a loading process to the one that trains in shared memory that is new for every batch, and
clearing its pages takes longer than reading the films: 4.7 of 6 ms for eight films of 512 pixels. Here both share some
slots from the start. Batches are asked for in order and few at a time, so each has a slot that is free again by then.
"""

from __future__ import annotations

import mmap
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from raycxr.dataset.batch_memory import Contents, batch_bytes, take_batch, write_batch
from raycxr.dataset.films import Batch, Films
from raycxr.dataset.loader import BatchSampler
from raycxr.errors import RaycxrError, StorageError

# Batches that each loading process may be ahead.
BATCHES_AHEAD = 4


class TorchLoader:
    """Batches of films, see `BatchLoader`.

    Parameters
    ----------
    films : Films
    sampler : BatchSampler
        Its epoch travels in the keys.
    loader_workers : int
        Loading processes; 0: this process loads.
    pin_memory : bool
        Whether batches go to a GPU.
    """

    def __init__(self, films: Films, sampler: BatchSampler, loader_workers: int, pin_memory: bool) -> None:
        self.films, self.sampler, self.loader_workers, self.pin_memory = films, sampler, loader_workers, pin_memory
        # One more than are under way: the one that is being taken over.
        slots = loader_workers * BATCHES_AHEAD + 1
        self.slots = _shared_memory(slots, batch_bytes(films, sampler.films_per_batch))
        self.loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        if self.loader is None:
            # Only now, as its processes start with the shards that the sampler's epoch needs first.
            self.loader = self._start()
        return self._taken(iter(self.loader))

    def _start(self) -> DataLoader[Any]:
        workers = self.loader_workers
        return DataLoader(
            _Slots(self.films, self.slots),
            batch_sampler=_Numbered(self.sampler, len(self.slots)),
            num_workers=workers,
            collate_fn=_as_it_is,
            persistent_workers=workers > 0,
            prefetch_factor=BATCHES_AHEAD if workers > 0 else None,
            worker_init_fn=_Start(self.films, self._needed()) if workers > 0 else None,
            # The slots are inherited, not sent.
            multiprocessing_context="fork" if workers > 0 else None,
        )

    def _needed(self) -> list[int]:
        """Shards in the order in which the epoch needs them."""
        return list(self.films.shards(key for keys in self.sampler for key in keys))

    def _taken(self, answers: Iterator[tuple[int, Contents | RaycxrError]]) -> Iterator[Batch]:
        while True:
            try:
                slot, contents = next(answers)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise StorageError(
                    f"a loading process was ended from outside: {str(error).splitlines()[0]}",
                    "give the process more memory, or lower train.loader_workers",
                ) from None
            if isinstance(contents, RaycxrError):
                raise contents
            yield take_batch(self.slots[slot], contents, self.pin_memory)


class _Slots(Dataset[Any]):
    """Writes batches into slots, in a loading process."""

    def __init__(self, films: Films, slots: NDArray[np.uint8]) -> None:
        self.films, self.slots = films, slots

    def __getitems__(self, request: list[Any]) -> tuple[int, Contents | RaycxrError]:
        slot, keys = request
        try:
            return slot, write_batch(self.films, keys, self.slots[slot])
        except RaycxrError as error:
            # As an answer: torch would make several lines of it.
            return slot, error


class _Numbered:
    """Batches of a sampler, each with its slot."""

    def __init__(self, sampler: BatchSampler, slots: int) -> None:
        self.sampler, self.slots = sampler, slots

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[Any]]:
        for number, keys in enumerate(self.sampler):
            yield [number % self.slots, keys]


class _Start:
    """What a loading process does first."""

    def __init__(self, films: Films, shards: list[int]) -> None:
        self.films, self.shards = films, shards

    def __call__(self, _: int) -> None:
        torch.set_num_threads(1)
        # Ctrl-C reaches every process of a terminal: the one that trains ends this one.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.films.paths.fill_behind(self.shards)


def _as_it_is(answer: Any) -> Any:
    return answer


def _shared_memory(count: int, size: int) -> NDArray[np.uint8]:
    """Memory (count, size) uint8 that processes forked from now on share; it does not count against /dev/shm."""
    return np.frombuffer(mmap.mmap(-1, max(1, count * size)), np.uint8)[: count * size].reshape(count, size)
