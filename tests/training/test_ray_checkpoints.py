"""Ray's own list of checkpoints must not keep a run from being resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raycxr.runs.record import STATE_FILE
from raycxr.storage.location import Location
from raycxr.training.ray_checkpoints import delete_mid_epoch, drop_broken_list

LIST = "checkpoint_manager_snapshot.json"


def listing(*names: str) -> str:
    return json.dumps({"checkpoint_results": [{"checkpoint_dir_name": name, "metrics": {}} for name in names]})


@pytest.fixture
def run(tmp_path: Path) -> Location:
    for name in ("checkpoint_1", "mid_epoch_checkpoint_2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / STATE_FILE).write_bytes(b"weights")
    return Location(tmp_path)


@pytest.mark.parametrize("text", ["", '{"checkpoint_results": [', "[]", "{}", listing("checkpoint_1", "checkpoint_3")])
def test_a_list_that_ray_would_refuse_is_dropped(run: Location, text: str) -> None:
    (run / LIST).write_text(text)
    drop_broken_list(run)
    assert not (run / LIST).exists()
    drop_broken_list(run)


def test_another_list_is_left(run: Location) -> None:
    text = listing("mid_epoch_checkpoint_2", "checkpoint_1")
    (run / LIST).write_text(text)
    drop_broken_list(run)
    assert (run / LIST).read_text() == text


def test_a_finished_run_keeps_no_checkpoint_within_an_epoch(run: Location) -> None:
    delete_mid_epoch(run)
    assert [place.name for place in run.list()] == ["checkpoint_1"]
