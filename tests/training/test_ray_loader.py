"""Ray Data feeds training workers the very batches that the torch loader makes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from safetensors.torch import load_file

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.films import Batch, Films, open_splits, shard_paths
from raycxr.dataset.loader import TrainSampler
from raycxr.dataset.torch_loader import TorchLoader
from raycxr.errors import DataError
from raycxr.training.config_check import epoch_order
from raycxr.training.loaders import loader_augmentation
from raycxr.training.ray_loader import RayLoader

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def samplers(config: Config, world_size: int) -> list[TrainSampler]:
    order, train = epoch_order(config, open_splits(config)), config.train
    return [TrainSampler(order, train.batch_size, train.passes, rank, world_size) for rank in range(world_size)]


def expected(config: Config, sampler: TrainSampler) -> list[Batch]:
    splits = open_splits(config)
    films = Films(splits.annotated("train"), shard_paths(splits, None), loader_augmentation(config, splits))
    return list(TorchLoader(films, sampler, 0, False))


def check_same(found: list[Batch], config: Config, sampler: TrainSampler) -> None:
    for one, other in zip(found, expected(config, sampler), strict=True):
        assert (one.ids, one.keys) == (other.ids, other.keys)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.fields, other.fields)
        assert torch.equal(one.annotated, other.annotated)


def test_batches_are_those_of_the_torch_loader(phantom_config: Path, cluster: None) -> None:
    config = load_config(phantom_config, ["train.batch_size=4", "train.accumulate=2", "train.epochs=2"])
    sampler = samplers(config, 2)[1]
    loader = RayLoader(config, open_splits(config), sampler, False)
    assert len(loader) == 8
    # Two epochs of a stream; then out of turn, from the middle of an epoch, after one that was broken off.
    for epoch, first in ((1, 0), (2, 0), (1, 3)):
        sampler.epoch, sampler.first_batch = epoch, first
        check_same(list(loader), config, sampler)
        if epoch == 2:
            next(iter(loader))
    loader.close()


def test_a_damaged_shard_is_one_line(phantom_config: Path, tmp_path: Path, cluster: None) -> None:
    uri = load_config(phantom_config).dataset_uri
    assert uri is not None
    data = shutil.copytree(uri, tmp_path / "data")
    config = load_config(phantom_config, [f"dataset.uri={data}", f"dataset.cache={tmp_path / 'cache'}"])
    splits = open_splits(config)
    (data / splits.manifest.shards[0].name).write_bytes(b"damaged")
    (sampler,) = samplers(config, 1)
    sampler.epoch = 1
    loader = RayLoader(config, splits, sampler, False)
    with pytest.raises(DataError, match="is damaged") as caught:
        list(loader)
    assert "\n" not in str(caught.value)
    loader.close()


def train(config: Path, storage: Path, name: str, *overrides: str) -> tuple[int, Any, str]:
    """Status, answer and standard error of `raycxr train`."""
    command = [sys.executable, "-m", "raycxr", "train", str(config), f"storage.uri={storage}", f"train.name={name}"]
    done = subprocess.run([*command, *overrides, "--json"], capture_output=True, text=True, timeout=400)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def test_training_learns_the_same_from_either_loader(phantom_config: Path, tmp_path: Path) -> None:
    for loader in ("torch", "ray"):
        settings = [f"train.loader={loader}", "resources.cpus_per_worker=1"]
        status, _, told = train(phantom_config, tmp_path, loader, *settings)
        assert status == 0, told
    one, other = (load_file(tmp_path / loader / "best" / "model.safetensors") for loader in ("torch", "ray"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_workers_leave_a_cpu_for_ray_data(phantom_config: Path, tmp_path: Path) -> None:
    settings = ["train.loader=ray", "resources.cpus_per_worker=2"]
    status, answer, _ = train(phantom_config, tmp_path, "none_left", *settings)
    assert status == 1
    assert "1 worker with 2 CPUs each leave none of the cluster's 2 for Ray Data" in answer["error"]["message"]
    assert "train.loader=torch" in answer["error"]["remedy"]


def test_there_is_no_ray_data_without_ray(phantom_config: Path, tmp_path: Path) -> None:
    status, answer, _ = train(phantom_config, tmp_path, "here", "train.loader=ray", "--local")
    assert status == 2
    assert "feeds workers of Ray Train" in answer["error"]["message"]
    assert not (tmp_path / "here").exists()
