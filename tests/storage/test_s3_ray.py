"""The S3 file system inside Ray's own workers: Ray Data reads and writes, Ray Train keeps checkpoints."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from raycxr.storage.location import Location

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(s3: str) -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_ray_data_reads_and_writes(cluster: None, s3_folder: str) -> None:
    folder = Location(s3_folder)
    filesystem, path = folder.filesystem()
    for shard in range(3):
        rows = pyarrow.table({"id": [f"{shard}-{row}" for row in range(50)], "image": [bytes([shard]) * 1000] * 50})
        pyarrow.parquet.write_table(rows, f"{path}/shards/{shard}.parquet", filesystem=filesystem)
    for v2 in (False, True):
        ray.data.DataContext.get_current().use_datasource_v2 = v2
        found = ray.data.read_parquet(f"{path}/shards", filesystem=filesystem, override_num_blocks=3)
        assert found.count() == 150
        assert {row["id"] for row in found.take_all()} == {f"{s}-{r}" for s in range(3) for r in range(50)}
    films = ray.data.read_binary_files(f"{path}/shards", filesystem=filesystem, include_paths=True)
    assert all(row["bytes"][:4] == b"PAR1" for row in films.take_all())
    ray.data.range(100).write_parquet(f"{path}/written", filesystem=filesystem)
    assert sum(pyarrow.parquet.read_table(f"{path}/written", filesystem=filesystem)["id"].to_pylist()) == 4950
    ray.data.range(10).write_parquet(f"{folder}/by-uri", filesystem=filesystem)
    assert ray.data.read_parquet(f"{folder}/by-uri", filesystem=filesystem).count() == 10


def test_ray_train_keeps_and_resumes_checkpoints(
    cluster: None, s3_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.train
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def train(configuration: dict[str, int]) -> None:
        checkpoint = ray.train.get_checkpoint()
        epoch = 0
        if checkpoint is not None:
            with checkpoint.as_directory() as before:
                epoch = int((Path(before) / "epoch").read_text()) + 1
        for now in range(epoch, configuration["epochs"]):
            with tempfile.TemporaryDirectory() as made:
                (Path(made) / "epoch").write_text(str(now))
                (Path(made) / "weights").write_bytes(os.urandom(20_000_000))
                mine = ray.train.get_context().get_world_rank() == 0
                checkpoint = ray.train.Checkpoint(made) if mine else None
                ray.train.report({"epoch": now, "first": epoch}, checkpoint=checkpoint)

    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    folder = Location(s3_folder)
    filesystem, path = folder.filesystem()
    for epochs, first in ((1, 0), (3, 1)):
        result = TorchTrainer(
            train,
            train_loop_config={"epochs": epochs},
            scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
            run_config=RunConfig(name="run", storage_path=path, storage_filesystem=filesystem),
        ).fit()
        assert result.metrics == {"epoch": epochs - 1, "first": first}
    checkpoint = result.checkpoint
    assert Location(f"s3://{checkpoint.path}").is_dir()
    assert (Location(f"s3://{checkpoint.path}") / "epoch").read_text() == "2"
    assert (Location(f"s3://{checkpoint.path}") / "weights").size() == 20_000_000
