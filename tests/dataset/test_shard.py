"""Shards and the node's cache: exact, verified, and shared."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from raycxr.config.load import load_config
from raycxr.dataset.cache import CachedShards, map_shard
from raycxr.dataset.codec import CODECS, decode_image
from raycxr.dataset.films import open_splits
from raycxr.dataset.shard import FILM_SCHEMA, MASK_SCHEMA, TableWriter, decode_mask, film_row, mask_row, open_verified
from raycxr.errors import DataError
from raycxr.storage.location import Location
from raycxr.storage.publish import sha256_of

images = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: arrays.arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 9)))
)


@given(images, st.booleans(), st.sampled_from(CODECS))
def test_films_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, image: np.ndarray, masked: bool, codec: str
) -> None:
    field = (image % 32).astype(np.uint8) if masked else None
    writer = TableWriter(FILM_SCHEMA)
    writer.add(film_row("a", image, field, {"nodule": 1}, codec))
    data = writer.finish()
    place = Location(tmp_path_factory.mktemp("shard") / "x.parquet")
    place.write_bytes(data)
    row = open_verified(place, sha256_of(data)).read().to_pylist()[0]
    again = decode_image(row["image"], row["codec"], row["height"], row["width"])
    assert again.dtype == image.dtype
    assert np.array_equal(again, image)
    if field is None:
        assert row["mask"] is None
    else:
        assert np.array_equal(decode_mask(row["mask"], row["height"], row["width"]), field)


@pytest.mark.parametrize(("count", "side", "groups"), [(0, 8, []), (130, 8, [64, 64, 2]), (5, 4000, [2, 2, 1])])
def test_rows_are_written_in_groups(tmp_path: Path, count: int, side: int, groups: list[int]) -> None:
    writer = TableWriter(MASK_SCHEMA)
    for number in range(count):
        writer.add(mask_row(str(number), np.full((side, side), number % 32, np.uint8)))
    assert writer.rows == count
    place = Location(tmp_path / "x.parquet")
    data = writer.finish()
    place.write_bytes(data)
    file = open_verified(place, sha256_of(data))
    assert [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)] == groups
    assert file.read(columns=["id"])["id"].to_pylist() == list(map(str, range(count)))


@pytest.fixture
def data(phantom_config: Path, tmp_path: Path) -> Path:
    uri = load_config(phantom_config).dataset_uri
    assert uri is not None
    return Path(shutil.copytree(uri, tmp_path / "data"))


def test_a_flipped_byte_is_found_even_where_the_cache_has_the_shard(
    phantom_config: Path, data: Path, tmp_path: Path
) -> None:
    splits = open_splits(load_config(phantom_config, [f"dataset.uri={data}"]))

    def first() -> Path:
        return CachedShards(splits.location, splits.manifest, tmp_path / "cache")[0]

    first()
    shard = data / splits.manifest.shards[0].name
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(bytes(damaged))
    with pytest.raises(DataError, match="is damaged") as caught:
        first()
    assert "\n" not in str(caught.value)
    shard.unlink()
    with pytest.raises(DataError, match="is missing"):
        first()


def test_the_cache_holds_the_same_rows_once(phantom_config: Path, data: Path, tmp_path: Path) -> None:
    splits = open_splits(load_config(phantom_config, [f"dataset.uri={data}"]))
    entry = splits.manifest.shards[0]
    paths = {CachedShards(splits.location, splits.manifest, tmp_path / "cache")[0] for _ in range(2)}
    assert len(paths) == 1
    stored = open_verified(splits.location / entry.name, entry.sha256).read().to_pylist()
    for row, original in zip(map_shard(paths.pop()).to_pylist(), stored, strict=True):
        pixels = decode_image(original["image"], original["codec"], original["height"], original["width"])
        assert row == original | {"codec": "raw-uint8", "image": pixels.tobytes()}
    assert [path for path in (tmp_path / "cache").iterdir() if path.suffix not in (".arrow", ".lock")] == []
