"""A cluster of two nodes, one of which is lost and comes back, and a head that is lost with the run that it led."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray_head import RayHead, RayNode
from running_training import RunningTraining, assert_same

from raycxr.prediction.checkpoint import list_checkpoints
from raycxr.runs.record import MID_EPOCH_CHECKPOINT, read_history, read_record
from raycxr.storage.location import Location

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ELASTIC_EPOCHS = 80

# So that the cluster misses a node within seconds.
WATCHFUL = {"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "4", "RAY_health_check_initial_delay_ms": "0",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "20", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5"}  # fmt: skip


def test_a_run_goes_on_without_a_lost_node_and_grows_when_it_is_back(phantom_config: Path, tmp_path: Path) -> None:
    # Many checkpoints, each of which waits for Ray to have entered the one before: an epoch takes a second or two.
    settings = [f"train.epochs={ELASTIC_EPOCHS}", "train.batch_size=2", "train.checkpoint_steps=2",
                "resources.workers=[1, 2]", "resources.cpus_per_worker=1", "resources.resize_minutes=0.05"]  # fmt: skip
    with (
        RayHead(WATCHFUL, cpus=1) as head,
        RayNode(head, 1) as node,
        RunningTraining(
            phantom_config,
            Location(tmp_path),
            "elastic",
            *settings,
            f"resources.address={head.gcs_address}",
            environment=head.environment,
        ) as run,
    ):

        def sizes() -> list[int]:
            return [entry["workers"] for entry in read_history(run.place) if "workers" in entry]

        # The checkpoint of the newest epoch may be lost with the node: Ray has not entered it yet.
        run.wait_for(lambda: sizes() == [2] and run.epochs() > 2)
        node.stop()
        run.wait_for(lambda: sizes()[-2:] == [2, 1])
        node.start()
        run.wait_for(lambda: sizes()[-2:] == [1, 2])
        status, answer = run.end()
    assert status == 0, run.told
    history = read_history(run.place)
    assert [entry["epoch"] for entry in history] == list(range(1, ELASTIC_EPOCHS + 1))
    assert all(entry["train"]["images"] == 16 and entry["validation"]["images"] == 4 for entry in history)
    assert history[-1]["validation"]["loss"] < history[0]["validation"]["loss"]
    record = read_record(run.place)
    assert (record["status"], record["world_size"]) == ("finished", [1, 2])
    assert answer["epochs"] == ELASTIC_EPOCHS
    assert list_checkpoints(run.place, MID_EPOCH_CHECKPOINT) == []


def test_a_lost_head_ends_the_run_with_one_line_and_it_goes_on_elsewhere(phantom_config: Path, tmp_path: Path) -> None:
    settings = ["train.epochs=150", "resources.cpus_per_worker=1"]
    folder = Location(tmp_path)
    with RunningTraining(phantom_config, folder, "whole", *settings) as whole:
        assert whole.end()[0] == 0, whole.told
    with RayHead(WATCHFUL) as head:
        address = f"resources.address={head.gcs_address}"
        with RunningTraining(phantom_config, folder, "lost", *settings, address, environment=head.environment) as run:
            run.wait_for(lambda: run.epochs() > 3)
            head.stop()
            status, answer = run.end()
    assert status == 1
    assert answer["error"]["message"] == "the Ray cluster of this run is gone: its head does not answer"
    assert answer["error"]["remedy"] == "start it again, and continue with --resume lost"
    assert read_record(run.place)["status"] == "failed"
    assert 3 < run.epochs() < 150
    with RunningTraining(phantom_config, folder, "lost", *settings, "--resume", "lost") as resumed:
        assert resumed.end()[0] == 0, resumed.told
    assert_same(resumed.place, whole.place)
