"""The torch loader and the node's cache that fills while it reads."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from raycxr.config.augment import AugmentSection
from raycxr.config.load import load_config
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.batch_memory import batch_bytes, take_batch, write_batch
from raycxr.dataset.cache import CachedShards
from raycxr.dataset.films import Batch, Films, Key, SplitIndex, open_splits
from raycxr.dataset.ingest import ingest, run_here
from raycxr.dataset.loader import EvaluationSampler, TrainSampler
from raycxr.dataset.manifest import Manifest
from raycxr.dataset.sampling import EveryFilm
from raycxr.dataset.torch_loader import TorchLoader
from raycxr.errors import DataError, RaycxrError, StorageError


@pytest.fixture
def data(phantom_config: Path, tmp_path: Path) -> SplitIndex:
    """The phantoms in eight shards of three films."""
    settings = ["ingest.shard_films=3", f"ingest.out={tmp_path / 'data'}"]
    config = load_config(phantom_config, settings)
    ingest(config, run_here, lambda done, total: None)
    return open_splits(config)


def shards(data: SplitIndex, folder: Path) -> CachedShards:
    return CachedShards(data.location, data.manifest, folder)


def films(data: SplitIndex, folder: Path) -> Films:
    return Films(data.annotated("train"), shards(data, folder), Augmentation(AugmentSection(), 0, 32))


def sampler(data: SplitIndex) -> TrainSampler:
    found = TrainSampler(EveryFilm(len(data.annotated("train")), 0), 4, 1, 0, 1)
    found.epoch = 1
    return found


def same(one: Batch, other: Batch) -> bool:
    return (
        (one.ids, one.keys) == (other.ids, other.keys)
        and torch.equal(one.images, other.images)
        and torch.equal(one.fields, other.fields)
        and torch.equal(one.annotated, other.annotated)
    )


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_those_of_the_films_epoch_after_epoch(data: SplitIndex, tmp_path: Path, workers: int) -> None:
    read, order = films(data, tmp_path / "cache"), sampler(data)
    loader = TorchLoader(read, order, workers, False)
    assert len(loader) == 4
    for epoch in (1, 2, 3):
        order.epoch = epoch
        # All of them are kept: none may lie in memory that is written again.
        batches = list(loader)
        assert [batch.keys for batch in batches] == list(order)
        for batch in batches:
            for key, film, image, field in zip(batch.keys, batch.ids, batch.images, batch.fields, strict=True):
                expected = read[key]
                assert (film, True) == (expected[0], expected[3])
                assert np.array_equal(image.numpy(), expected[1])
                assert np.array_equal(field.numpy(), expected[2])


def test_an_epoch_that_was_left_in_the_middle_does_not_spoil_the_next(data: SplitIndex, tmp_path: Path) -> None:
    order = sampler(data)
    loader = TorchLoader(films(data, tmp_path / "cache"), order, 2, False)
    whole = list(loader)
    next(iter(loader))
    order.first_batch = 1
    assert all(map(same, whole[1:], loader))


def test_the_last_batch_may_be_smaller(data: SplitIndex, tmp_path: Path) -> None:
    read = Films(data.annotated("train"), shards(data, tmp_path / "cache"), None)
    batches = list(TorchLoader(read, EvaluationSampler(len(read), 5, 0, 1), 2, False))
    assert [len(batch) for batch in batches] == [5, 5, 5, 1]
    assert [film for batch in batches for film in batch.ids] == [row["id"] for row in data.annotated("train")]


def test_only_the_shards_that_are_needed_are_unpacked_first(data: SplitIndex, tmp_path: Path) -> None:
    read, order = films(data, tmp_path / "cache"), sampler(data)
    assert len(read.paths) == 8
    first = next(iter(order))
    write_batch(read, first, np.empty(batch_bytes(read, 4), np.uint8))
    unpacked = {path.stem for path in (tmp_path / "cache").glob("*.arrow")}
    entries = data.manifest.shards
    assert unpacked == {entries[read.places[key.position][1]].sha256 for key in first}
    assert len(unpacked) < 8


def test_what_will_be_unpacked_is_told_before_and_not_after(data: SplitIndex, tmp_path: Path) -> None:
    cache = shards(data, tmp_path / "cache")
    assert cache.missing_bytes() == 24 * 32 * 32 * 2
    told = cache.announcement()
    assert told is not None
    assert "8 shards to unpack, about 49.2 kB" in told
    cache.fill(range(8))
    assert cache.announcement() is None
    assert shards(data, tmp_path / "cache").missing_bytes() == 0
    written = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.arrow"))
    assert 24 * 32 * 32 * 2 < written < 2 * 24 * 32 * 32 * 2


def test_another_process_that_unpacks_a_shard_is_not_waited_for(data: SplitIndex, tmp_path: Path) -> None:
    cache = shards(data, tmp_path / "cache")
    with cache._claimed(cache.entries[2], wait=True):
        cache.fill(range(8))
    assert cache.missing() == [cache.entries[2]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_shard_is_one_line(data: SplitIndex, tmp_path: Path, workers: int, damage: str) -> None:
    shard = data.location.local_path / data.manifest.shards[5].name
    if damage == "missing":
        shard.unlink()
    else:
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(bytes(content))
    with pytest.raises(DataError) as caught:
        list(TorchLoader(films(data, tmp_path / "cache"), sampler(data), workers, False))
    assert "\n" not in str(caught.value)
    assert str(shard) in caught.value.message
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} <= {".arrow", ".lock"}


def test_a_disk_without_room_is_told_before_anything_is_unpacked(data: SplitIndex, tmp_path: Path) -> None:
    entry = data.manifest.shards[0]
    free = shutil.disk_usage(tmp_path).free
    vast = entry.model_copy(update={"rows": free // 32**2, "sha256": "0" * 64})
    manifest: Manifest = data.manifest.model_copy(update={"shards": (vast,)})
    with pytest.raises(StorageError, match=r"needs about .* more, and .* are free") as caught:
        CachedShards(data.location, manifest, tmp_path / "not" / "there")
    assert "dataset.cache" in caught.value.remedy
    assert not (tmp_path / "not").exists()


def test_a_cache_that_cannot_be_written_is_one_line(data: SplitIndex, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the node cache") as caught:
        next(iter(TorchLoader(films(data, tmp_path / "file"), sampler(data), 1, False)))
    assert "\n" not in str(caught.value)


def test_a_loading_process_that_is_killed_is_one_line(data: SplitIndex, tmp_path: Path) -> None:
    class Killed(Films):
        def __getitem__(self, key: Key | tuple[int, int]) -> tuple[str, np.ndarray, np.ndarray, bool]:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

    read = Killed(data.annotated("train"), shards(data, tmp_path / "cache"), None)
    with pytest.raises(RaycxrError, match="a loading process was ended from outside") as caught:
        list(TorchLoader(read, sampler(data), 1, False))
    assert "\n" not in str(caught.value)


def test_films_of_eight_and_of_sixteen_bits_meet_in_one_range(data: SplitIndex, tmp_path: Path) -> None:
    class Mixed(Films):
        def __getitem__(self, key: Key | tuple[int, int]) -> tuple[str, np.ndarray, np.ndarray, bool]:
            film, image, field, annotated = super().__getitem__(key)
            return film, image if Key(*key).position % 2 else image.astype(np.float32) / 255, field, annotated

    wide = data.manifest.model_copy(update={"intensity": data.manifest.intensity.model_copy(update={"rule": "keep"})})
    read = Mixed(data.annotated("train"), CachedShards(data.location, wide, tmp_path / "cache"), None)
    memory = np.empty(batch_bytes(read, 4), np.uint8)
    contents = write_batch(read, [Key(1, number) for number in range(4)], memory)
    batch = take_batch(memory, contents, False)
    assert batch.images.dtype == torch.float32
    for number, image in enumerate(batch.images):
        assert np.allclose(
            image.numpy() * 255, Films(data.annotated("train"), read.paths, None)[(1, number)][1], atol=1e-4
        )
