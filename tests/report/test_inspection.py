"""Counts of an inspection against the tables themselves, and intensities against all pixels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from raycxr.config.load import load_config
from raycxr.dataset.codec import decode_image
from raycxr.dataset.ingest import ingest, run_here
from raycxr.errors import DataError
from raycxr.report.film_count import count_films, on_several_sides, shows
from raycxr.report.inspection import Inspection
from raycxr.report.inspection_text import inspection_document, inspection_text
from raycxr.sources.synth import write_pairs
from raycxr.storage.location import Location
from raycxr.xray.picture import decode_picture, encode_png

Inspect = Callable[..., Inspection]


@pytest.fixture
def copy(mixed: Location, tmp_path: Path) -> Path:
    """A data set to spoil."""
    return Path(shutil.copytree(mixed.local_path, tmp_path / "data"))


def test_counts_agree_with_the_tables(mixed: Location, inspect: Inspect) -> None:
    document = inspection_document(inspect())
    index = pd.read_parquet(mixed.local_path / "index.parquet")
    rejects = pd.read_parquet(mixed.local_path / "rejects.parquet")
    manifest = json.loads((mixed.local_path / "manifest.json").read_text())
    drawn = index[index["annotated"]]
    lungs = drawn["pixels"].map(lambda pixels: pixels[0])
    assert document["id"] == manifest["id"]
    assert document["images"] == len(index) == 38
    assert document["annotated"] == len(drawn) == 34
    assert document["classes"] == ["lungs"]
    assert document["positive"] == {"lungs": int((lungs > 0).sum())} == {"lungs": 30}
    assert document["splits"] == index["split"].value_counts()[["train", "validation", "test"]].to_dict()
    assert document["rejects"] == rejects["reason"].value_counts().to_dict()
    assert sum(document["rejects"].values()) == document["rejected"] == 2
    assert document["listed"] == document["images"] + document["rejected"]
    assert document["patients"] == index["patient"].nunique()
    areas = (lungs / (drawn["mask_height"] * drawn["mask_width"]))[lungs > 0]
    assert document["areas"]["lungs"]["median"] == pytest.approx(areas.median())
    assert document["areas"]["lungs"]["largest"] == pytest.approx(areas.max())
    assert {(size["width"], size["height"]): size["images"] for size in document["sizes"]} == index.groupby(
        ["width", "height"]
    ).size().to_dict()
    assert document["duplicates"] == {"groups": 1, "films": 2, "on_several_sides": 0}
    assert document["patients_on_several_sides"] == 0
    assert document["bytes"] == sum(path.stat().st_size for path in mixed.local_path.glob("*s/*.parquet"))
    for name, split in document["by_split"].items():
        rows = index[index["split"] == name]
        assert split["images"] == len(rows)
        assert split["annotated"] == rows["annotated"].sum()
        assert split["positive"]["lungs"] == (lungs[lungs.index.isin(rows.index)] > 0).sum()
    json.dumps(document, allow_nan=False)


def test_intensities_are_those_of_the_films_without_their_borders(mixed: Location, inspect: Inspect) -> None:
    inspection = inspect(films=1000, pictures=0)
    index = pd.read_parquet(mixed.local_path / "index.parquet").set_index("id")
    pixels: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for path in sorted((mixed.local_path / "shards").iterdir()):
        for row in pq.read_table(path).to_pylist():
            image = decode_image(row["image"], row["codec"], row["height"], row["width"])
            film = index.loc[row["id"]]
            inside = image[12:36] if film["width"] == 2 * film["height"] else image
            pixels[film["split"]].append(inside.ravel())
    assert inspection.sample.films == 38
    grey = inspection.sample.grey
    for name, films in pixels.items():
        assert np.array_equal(grey.by_split[name], np.bincount(np.concatenate(films), minlength=256))
    whole = np.concatenate([film for films in pixels.values() for film in films])
    assert whole.size == 38 * 48 * 48 - 24 * 48
    assert grey.mean == pytest.approx(whole.mean())
    assert grey.deviation == pytest.approx(whole.std())
    assert grey.percentile(50) == np.percentile(whole, 50, method="inverted_cdf")
    assert grey.share(255) == pytest.approx(np.mean(whole == 255))


def test_a_seed_fixes_what_is_drawn(inspect: Inspect) -> None:
    first, again, other = inspect(), inspect(), inspect(seed=1)
    assert inspection_document(first) == inspection_document(again)
    assert first.sample.sheet == again.sample.sheet
    assert first.sample.extremes == again.sample.extremes
    assert first.sample.sheet != other.sample.sheet


def test_a_mask_decides_and_a_label_stands_in_for_it() -> None:
    drawn = {"annotated": True, "pixels": [0], "labels": '{"pneumothorax": 1}', "patient": "a"}
    labelled = {"annotated": False, "pixels": None, "labels": '{"pneumothorax": 1}', "patient": "b"}
    unknown = {"annotated": False, "pixels": None, "labels": "{}", "patient": "b"}
    assert [shows(row, 0, "pneumothorax") for row in (drawn, labelled, unknown)] == [False, True, None]
    count = count_films([drawn, labelled, unknown], ["pneumothorax"])
    assert (count.images, count.patients, count.annotated) == (3, 2, 1)
    assert (count.known, count.positive) == ({"pneumothorax": 2}, {"pneumothorax": 1})
    assert count.labels == {"pneumothorax": {1: 2}}


def test_a_patient_on_two_sides_is_told(copy: Path, inspect: Inspect) -> None:
    place = copy / "index.parquet"
    table = pd.read_parquet(place)
    table.loc[table["split"] == "test", "patient"] = table[table["split"] == "train"]["patient"].iloc[0]
    table.to_parquet(place)
    assert on_several_sides(pq.read_table(place).to_pylist(), "patient") == 1
    inspection = inspect(copy)
    assert inspection_document(inspection)["patients_on_several_sides"] == 1
    assert "IN SEVERAL SPLITS: 1 patient" in inspection_text(inspection)


def test_text_is_aligned(inspect: Inspect) -> None:
    lines = inspection_text(inspect()).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  split"))
    table = lines[start : start + 5]
    assert [line.split()[0] for line in table] == ["split", "train", "validation", "test", "all"]
    assert len({len(line) for line in table}) == 1
    assert "38 + 2 rejected = 40 listed" in "\n".join(lines)


@pytest.mark.parametrize(
    "name", ["shards/00002-*.parquet", "masks/00002-*.parquet", "index.parquet", "rejects.parquet"]
)
def test_a_missing_file_is_named(copy: Path, inspect: Inspect, name: str) -> None:
    place = next(copy.glob(name))
    place.unlink()
    with pytest.raises(DataError, match=f"{place.relative_to(copy)} is missing") as raised:
        inspect(copy)
    assert "ingest again" in raised.value.remedy


def test_a_shard_that_was_cut_off_is_found_without_reading_it(copy: Path, inspect: Inspect) -> None:
    shard = next(copy.glob("masks/00001-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"masks/00001-\w+.parquet is damaged: \d+ bytes instead of \d+"):
        inspect(copy, pictures=0)


def test_a_changed_byte_is_found(copy: Path, inspect: Inspect) -> None:
    shard = next(copy.glob("shards/00001-*"))
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"00001-\w+.parquet is damaged: sha256"):
        inspect(copy)


def test_tables_of_another_manifest_are_refused(copy: Path, inspect: Inspect) -> None:
    place = copy / "index.parquet"
    pq.write_table(pq.read_table(place).slice(1), place)
    with pytest.raises(DataError, match="tells of 38 films and 2 rejected, the tables hold 37 and 2"):
        inspect(copy)


def test_few_shards_are_read_of_many(mixed: Location, inspect: Inspect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raycxr.report.film_sample.SHARDS", 3)
    inspection = inspect(pictures=0)
    assert (inspection.sample.shards, inspection.sample.verified) == (3, 3)
    assert len(inspection.manifest.shards) == 10
    assert inspection.sample.films <= 12
    assert inspection.whole.images == 38


def test_films_of_16_bits_are_shown_by_their_white(tmp_path: Path, inspect: Inspect) -> None:
    write_pairs(Location(tmp_path / "films"), 8, 64, 0, lambda done, total: None)
    for path in (tmp_path / "films" / "images").iterdir():
        path.write_bytes(encode_png(decode_picture(path.read_bytes()).astype(np.uint16) * np.uint16(16)))
    config = tmp_path / "deep.yaml"
    config.write_text(
        f"""
ingest:
  source: pairs
  images: {tmp_path / "films" / "images"}
  masks: {tmp_path / "films" / "masks"}
  intensity: {{rule: keep, high: 4095}}
  size: 64
  out: {tmp_path / "data"}
"""
    )
    ingest(load_config(config), run_here, lambda done, total: None)
    inspection = inspect(tmp_path / "data", films=1000)
    levels = np.zeros(256, np.int64)
    for path in sorted((tmp_path / "data" / "shards").iterdir()):
        for row in pq.read_table(path).to_pylist():
            image = decode_image(row["image"], row["codec"], row["height"], row["width"])
            assert image.dtype == np.uint16
            levels += np.bincount((image.astype(np.float64) / 4095 * 255).astype(int).ravel(), minlength=256)
    # Rounding of single precision may move a value by one level.
    assert np.abs(np.cumsum(levels) - np.cumsum(inspection.sample.grey.counts)).max() < 0.001 * levels.sum()
    assert inspection.sample.grey.percentile(99) > 200
    assert "keep, white at 4095" in inspection_text(inspection)
