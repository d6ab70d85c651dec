"""How many workers: a number, or the least and the most of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.config.load import load_config
from raycxr.config.resources import world_sizes
from raycxr.dataset.films import open_splits
from raycxr.errors import ConfigurationError
from raycxr.training.config_check import check_trainable_config


@pytest.mark.parametrize(
    ("given", "read", "sizes"),
    [("3", 3, [3]), ("[1, 3]", (1, 3), [1, 2, 3]), ("[2, 2]", (2, 2), [2])],
)
def test_workers_are_a_number_or_two(phantom_config: Path, given: str, read: object, sizes: list[int]) -> None:
    resources = load_config(phantom_config, [f"resources.workers={given}"]).resources
    assert resources.workers == read
    assert list(world_sizes(resources.workers)) == sizes
    assert resources.most_workers == sizes[-1]


@pytest.mark.parametrize("given", ["0", "[2, 1]", "[1, 2, 3]", "[1]", "[0, 1]", "many", "true", "1.5", "null"])
def test_other_workers_are_refused_in_one_line(phantom_config: Path, given: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a number from 1 on nor two of them") as caught:
        load_config(phantom_config, [f"resources.workers={given}"])
    assert "\n" not in str(caught.value)


def test_a_batch_is_shared_by_any_number_of_workers(phantom_config: Path) -> None:
    splits = open_splits(load_config(phantom_config))
    config = load_config(phantom_config, ["train.batch_size=8", "train.accumulate=2"])
    check_trainable_config(config, splits, (1, 2))
    with pytest.raises(ConfigurationError, match="8 cannot be shared by 3 workers x 2 accumulation steps") as caught:
        check_trainable_config(config, splits, (1, 4))
    assert caught.value.remedy == "choose a multiple of 24"
    check_trainable_config(load_config(phantom_config, ["train.batch_size=24", "train.accumulate=2"]), splits, (1, 4))
