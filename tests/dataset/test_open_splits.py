"""The split of a data set as training opens it: the one that was written, or one that its configuration asks for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits


@pytest.fixture
def grown(phantom_config: Path, tmp_path: Path) -> Path:
    """The phantoms as if the set had grown: other films are tested than the rule would choose today."""
    folder = tmp_path / "data"
    shutil.copytree(phantom_config.parent / "data", folder)
    table = pq.read_table(folder / "index.parquet")
    splits = table["split"].to_pylist()
    turned = [{"train": "test", "test": "train"}.get(split, split) if n % 3 == 0 else split
              for n, split in enumerate(splits)]  # fmt: skip
    assert turned != splits
    column = table.schema.get_field_index("split")
    pq.write_table(table.set_column(column, table.schema.field(column), pa.array(turned)), folder / "index.parquet")
    return folder


def films(config: Path, data: Path, split: str, *overrides: str) -> set[str]:
    opened = open_splits(load_config(config, [f"dataset.uri={data}", *overrides]))
    return {row["id"] for row in opened.rows[split]}


def test_folds_leave_the_tested_films_where_they_are(phantom_config: Path, grown: Path) -> None:
    tested = films(phantom_config, grown, "test")
    validated: list[str] = []
    for fold in (1, 2, 3):
        folds = ("dataset.split.validation_folds=3", f"dataset.split.validation_fold={fold}")
        assert films(phantom_config, grown, "test", *folds) == tested
        validated += films(phantom_config, grown, "validation", *folds)
    rest = films(phantom_config, grown, "train") | films(phantom_config, grown, "validation")
    assert sorted(validated) == sorted(rest)


def test_another_rule_divides_anew(phantom_config: Path, grown: Path) -> None:
    fresh = phantom_config.parent / "data"
    for overrides in (("dataset.split.seed=1",), ("dataset.split.seed=1", "dataset.split.validation_folds=3")):
        assert films(phantom_config, grown, "test", *overrides) == films(phantom_config, fresh, "test", *overrides)
    assert films(phantom_config, grown, "test") != films(phantom_config, fresh, "test")
