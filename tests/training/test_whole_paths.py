"""Paths that hold in a process whose current folder is another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.config.sections import Config
from raycxr.errors import DataError
from raycxr.runs.bundle import MARKER
from raycxr.runs.record import BEST
from raycxr.storage.location import Location
from raycxr.training.whole_paths import with_whole_paths


def config(**sections: object) -> Config:
    return Config.model_validate({"dataset": {"uri": "data"}, **sections})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder, with a finished run in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (Location("runs/half") / BEST / MARKER).write_text("{}")
    return tmp_path


def test_every_path_is_made_absolute(here: Path) -> None:
    whole = with_whole_paths(
        config(
            dataset={"uri": "data", "cache": "~/shards"},
            train={"start_from": "runs/half"},
            model={"encoder_weights": "weights/resnet18.pth"},
        )
    )
    assert whole.dataset.uri == str(here / "data")
    assert whole.dataset.cache == str(here / "home" / "shards")
    assert whole.train.start_from == str(here / "runs" / "half" / BEST)
    assert whole.model.encoder_weights == str(here / "weights" / "resnet18.pth")
    assert with_whole_paths(whole) == whole


def test_what_is_no_local_path_stays(here: Path) -> None:
    weights = {"encoder": "resnet18", "encoder_weights": "imagenet"}
    given = config(dataset={"uri": "s3://bucket/data"}, model=weights, optimizer={"lr": 0.5})
    assert with_whole_paths(given) == given
    there = config(dataset={"uri": "s3://bucket/data"}, model={"encoder_weights": "s3://bucket/resnet18.pth"})
    assert with_whole_paths(there) == there
    plain = with_whole_paths(config(model={"encoder_weights": None}))
    assert (plain.dataset.cache, plain.train.start_from, plain.model.encoder_weights) == (None, None, None)


def test_the_data_set_that_ingest_writes(here: Path) -> None:
    section = {"source": "pairs", "images": "films/images", "masks": "films/masks", "out": "data"}
    given = Config.model_validate({"ingest": section})
    assert with_whole_paths(given).dataset.uri == str(here / "data")


def test_a_start_that_is_not_there_is_told(here: Path) -> None:
    with pytest.raises(DataError, match="runs/other is neither a bundle nor a run"):
        with_whole_paths(config(train={"start_from": "runs/other"}))
