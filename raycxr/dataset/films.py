"""The films of a split, as a torch data set over the node's shard cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from raycxr.config.sections import Config
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.cache import CachedShards, cache_folder, map_shard
from raycxr.dataset.manifest import Manifest, read_index, read_manifest
from raycxr.dataset.shard import read_film
from raycxr.dataset.split import SPLITS, assign_splits, same_test_films
from raycxr.errors import ConfigurationError, DataError
from raycxr.number_text import count
from raycxr.storage.location import Location


class Key(NamedTuple):
    """One turn of a film.

    Attributes
    ----------
    epoch : int
    position : int
        Of the film in its split.
    turn : int
        How often the film came before in the same epoch.
    """

    epoch: int
    position: int
    turn: int = 0


@dataclass(frozen=True)
class Batch:
    """Films on their way to the device.

    Attributes
    ----------
    images : Tensor
        (B, H, W), uint8, or float32 in 0..1 for 16-bit films.
    fields : Tensor
        (B, H, W) uint8 bit fields; all zero where `annotated` is false.
    ids : list of str
    annotated : Tensor
        (B,) bool.
    keys : sequence of Key
        Whose turn each film's is; empty where nobody asks.
    """

    images: torch.Tensor
    fields: torch.Tensor
    ids: list[str]
    annotated: torch.Tensor
    keys: Sequence[Key] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class SplitIndex:
    """A data set and how it is divided: manifest, index rows by split."""

    location: Location
    manifest: Manifest
    rows: dict[str, list[dict[str, Any]]]

    def annotated(self, split: str) -> list[dict[str, Any]]:
        """Rows of a split that have a mask."""
        return [row for row in self.rows[split] if row["annotated"]]


def open_splits(config: Config) -> SplitIndex:
    """Read manifest and index of a configuration's data set and divide it.

    Raises
    ------
    ConfigurationError
        No data set is named.
    DataError
        It does not exist, or the split rule does not fit it.
    """
    if config.dataset_uri is None:
        raise ConfigurationError("no data set is named", "set dataset.uri=... or ingest.out=...")
    location = Location(config.dataset_uri)
    manifest = read_manifest(location)
    index = read_index(location)
    rule = config.dataset.split
    splits = {row["id"]: row["split"] for row in index}
    if rule is not None and rule != manifest.split:
        # Where the films that are not tested are divided into folds, those that are stay, also of a set that has grown.
        folds = rule.validation_folds is not None and same_test_films(rule, manifest.split)
        splits = assign_splits(index, rule, splits if folds else {})
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    for row in index:
        rows[splits[row["id"]]].append(row)
    return SplitIndex(location, manifest, rows)


def shard_paths(splits: SplitIndex, configured_cache: str | None) -> CachedShards:
    """Cached files of all shards of a data set, in order; each is made when it is first asked for.

    Raises
    ------
    StorageError
        The cache has no room for them.
    """
    return CachedShards(splits.location, splits.manifest, cache_folder(configured_cache))


class Films(Dataset[Any]):
    """Films of one split, by `Key` or by a plain (epoch, position).

    Parameters
    ----------
    rows : sequence of mappings
        Index rows (`id`, `shard`, `row`, `high`) in a fixed order.
    paths : CachedShards
        Cached files of the shards.
    augmentation : Augmentation or None
        Random changes; None for validation and test.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], paths: CachedShards, augmentation: Augmentation | None) -> None:
        self.places = [(row["id"], row["shard"], row["row"], row["high"]) for row in rows]
        self.paths = paths
        self.augmentation = augmentation
        self.tables: dict[int, pa.Table] = {}

    def __len__(self) -> int:
        return len(self.places)

    def shards(self, keys: Iterable[Key]) -> Iterator[int]:
        """Shards that films lie in, in the order in which they are first needed."""
        return iter(dict.fromkeys(self.places[key.position][1] for key in keys))

    def __getitem__(self, key: Key | tuple[int, int]) -> tuple[str, NDArray[Any], NDArray[np.uint8], bool]:
        epoch, position, turn = Key(*key)
        film_id, shard, row, white = self.places[position]
        image, mask = read_film(self._table(shard), row, white)
        field = np.zeros(image.shape, np.uint8) if mask is None else mask
        if self.augmentation is not None:
            image, field = self.augmentation(image, field, epoch, film_id, turn)
        return film_id, image, field, mask is not None

    def _table(self, shard: int) -> pa.Table:
        if shard not in self.tables:
            self.tables[shard] = map_shard(self.paths[shard])
        return self.tables[shard]


def check_trainable(splits: SplitIndex) -> None:
    """Refuse a data set on which training would be meaningless.

    Raises
    ------
    DataError
        A split is empty, or a class has no pixel in the training films.
    """
    for split in ("train", "validation"):
        if not splits.annotated(split):
            raise DataError(
                f"the {split} split of {splits.location} has no annotated film",
                "change dataset.split, or ingest films with masks",
            )
    train = splits.annotated("train")
    for bit, name in enumerate(splits.manifest.classes):
        if not any(row["pixels"][bit] for row in train):
            raise DataError(
                f"class {name!r} has no pixel in {count(len(train), 'training film')}",
                "change dataset.split, or leave the class out of ingest.classes",
            )
