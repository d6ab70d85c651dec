"""Training batches streamed by Ray Data: any node with a free CPU reads and augments, this worker only receives.

A row of the dataset is the number of a batch. Whichever process gets it works out the films from the sampler, as the
torch loader does, and reads them through the cache of its node: the batches are the same to the last bit, in the same
order, and none is dropped. They are tasks, not actors: an actor pool that finds no CPU waits without a word, and
Ray keeps the processes of tasks from epoch to epoch just as well.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray

from raycxr.config.sections import Config
from raycxr.dataset.batch_memory import Contents, batch_bytes, take_batch, write_batch
from raycxr.dataset.films import Batch, Films, Key, SplitIndex, open_splits, shard_paths
from raycxr.dataset.loader import TrainSampler
from raycxr.errors import DataError, RaycxrError
from raycxr.training.config_check import epoch_order
from raycxr.training.loaders import loader_augmentation

# A stream goes on into the next epochs up to about so many batches, so that short epochs do not wait for its start.
BATCHES_OF_A_STREAM = 4096
# What a task makes, where a batch is smaller: each task costs milliseconds. Measured with batches of 4 MB on two cores
# without augmentation: 419 films a second with 32 MB, 1,094 with 128 MB.
BYTES_OF_A_TASK = 64e6
BLOCKS_AHEAD = 2

Answer = tuple[Contents | RaycxrError, NDArray[np.uint8]]


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to know to make the batches of one worker; `config` is JSON."""

    config: str
    dataset_id: str
    # Found by each run where the configuration says auto.
    parts: int
    rank: int
    world_size: int


class RayLoader:
    """Training batches of one worker; see `raycxr.dataset.loader.BatchLoader`.

    Parameters
    ----------
    config : Config
        With whole paths, which every node can read.
    splits : SplitIndex
    sampler : TrainSampler
        Of this worker; tells epoch and first batch.
    pin_memory : bool
        Whether batches go to a GPU.
    """

    def __init__(self, config: Config, splits: SplitIndex, sampler: TrainSampler, pin_memory: bool) -> None:
        self.recipe = Recipe(
            config.model_dump_json(), splits.manifest.id, sampler.parts, sampler.rank, sampler.world_size
        )
        self.sampler, self.epochs, self.pin_memory = sampler, config.train.epochs, pin_memory
        # As at eight bits; of a film and of its bit field.
        self.batch_bytes = sampler.films_per_batch * 2 * splits.manifest.geometry.size**2
        self.reader = ThreadPoolExecutor(1)
        self.answers = _nothing()
        self.ahead: Future[Answer | None] | None = None
        # Where the stream is: the epoch that comes next, and how many batches of the stream are left.
        self.next_epoch, self.left = 0, 0

    def close(self) -> None:
        """End the stream: where training ends early, Ray would read ahead for nobody."""
        self.reader.shutdown()
        self.ahead = None
        self.answers.close()

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self.sampler.epoch, self.sampler.first_batch
        count = len(self) - first
        if epoch != self.next_epoch or first or self.left < count:
            self._start(epoch, first)
        self.next_epoch = 0  # until this epoch has been gone through
        return self._batches(epoch, count)

    def _batches(self, epoch: int, count: int) -> Iterator[Batch]:
        for _ in range(count):
            assert self.ahead is not None
            answer = self.ahead.result()
            assert answer is not None  # a batch came for every number, or an error was raised
            self.ahead = self.reader.submit(next, self.answers, None)
            contents, memory = answer
            if isinstance(contents, RaycxrError):
                raise contents
            self.left -= 1
            yield take_batch(memory, contents, self.pin_memory)
        self.next_epoch = epoch + 1

    def _start(self, epoch: int, first: int) -> None:
        """Begin a stream at a batch of an epoch; Ray reads ahead from now on."""
        steps = len(self)
        epochs = max(1, min(self.epochs - epoch + 1, BATCHES_OF_A_STREAM // steps))
        self.left = epochs * steps - first
        if self.ahead is not None:
            self.ahead.result()  # of the stream before, which is left where it is
        self.answers.close()
        tasks = -(-self.left // max(1, int(BYTES_OF_A_TASK / self.batch_bytes)))
        self.answers = _stream(self.recipe, epoch * steps + first, self.left, tasks)
        self.ahead = self.reader.submit(next, self.answers, None)


def _nothing() -> Generator[Answer, None, None]:
    yield from ()


def _stream(recipe: Recipe, start: int, count: int, tasks: int) -> Generator[Answer, None, None]:
    """Batches number `start`, `start + 1`, ..., counted over all epochs from epoch 0."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.verbose_stats_logs = False
    # As in ingest: its log is kept in the session's folder.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    numbers = ray.data.range(count, override_num_blocks=tasks)
    batches = numbers.map_batches(
        _load, fn_args=(recipe, start), batch_size=1, batch_format="pyarrow", zero_copy_batch=True
    )
    for table in batches.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=BLOCKS_AHEAD):
        for row in range(len(table)):
            memory = np.frombuffer(table["memory"][row].as_buffer(), np.uint8)
            yield pickle.loads(table["contents"][row].as_buffer()), memory


def _load(row: pa.Table, recipe: Recipe, start: int) -> pa.Table:
    """Make one batch, in a task of Ray Data."""
    number = start + row["id"][0].as_py()
    contents: Contents | RaycxrError
    try:
        films, sampler = _films(recipe)
        keys = _keys(recipe, number // len(sampler))[number % len(sampler)]
        memory = np.empty(batch_bytes(films, len(keys)), np.uint8)
        contents = write_batch(films, keys, memory)
    except RaycxrError as error:
        # As an answer: Ray would wrap an exception in its own, and print a traceback.
        contents, memory = error, np.empty(0, np.uint8)
    # By reference: of bytes objects a copy would be made.
    ends = pa.py_buffer(np.array([0, len(memory)], np.int64))
    pixels = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(memory)])
    return pa.table({"contents": pa.array([pickle.dumps(contents)], pa.binary()), "memory": pixels})


@lru_cache(maxsize=2)
def _films(recipe: Recipe) -> tuple[Films, TrainSampler]:
    """Films and sampler of a worker, kept by the process for its next task."""
    config = Config.model_validate_json(recipe.config)
    splits = open_splits(config)
    if splits.manifest.id != recipe.dataset_id:
        raise DataError(f"the data set {splits.location} was changed while training ran", "start the run anew")
    paths, train = shard_paths(splits, config.dataset.cache), config.train
    films = Films(splits.annotated("train"), paths, loader_augmentation(config, splits))
    order = epoch_order(config, splits)
    return films, TrainSampler(order, train.batch_size, recipe.parts, recipe.rank, recipe.world_size)


@lru_cache(maxsize=2)
def _keys(recipe: Recipe, epoch: int) -> list[list[Key]]:
    """Keys of all batches of an epoch."""
    _, sampler = _films(recipe)
    sampler.epoch = epoch
    return list(sampler)
