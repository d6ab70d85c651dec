"""What a run says of itself, and what is refused before its name is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from raycxr.config.load import load_config
from raycxr.errors import ConfigurationError
from raycxr.runs.record import read_record
from raycxr.storage.location import Location
from raycxr.training.run import train, train_here


def test_a_local_run_has_one_worker_whatever_the_configuration_asks_for(phantom_config: Path, tmp_path: Path) -> None:
    overrides = [f"storage.uri={tmp_path}", "train.epochs=1", "train.batch_size=3", "resources.workers=2"]
    result = train(load_config(phantom_config, overrides), phantom_config, None, train_here, print)
    record = read_record(Location(result.run))
    assert (record["world_size"], record["local"]) == (1, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_a_precision_that_the_device_lacks_takes_no_name(phantom_config: Path, tmp_path: Path) -> None:
    overrides = [f"storage.uri={tmp_path}", "train.name=half", "train.precision=fp16"]
    with pytest.raises(ConfigurationError, match="needs a GPU"):
        train(load_config(phantom_config, overrides), phantom_config, None, train_here, print)
    assert not (tmp_path / "half").exists()
