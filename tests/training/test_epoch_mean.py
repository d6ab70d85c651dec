"""The mean of the weights over the last epochs: right, validated, saved, and the same after a resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from raycxr.cli.main import run as cli
from raycxr.config.load import check_config, load_config
from raycxr.errors import ConfigurationError
from raycxr.prediction.bundle import load_model
from raycxr.prediction.checkpoint import list_checkpoints, read_snapshot
from raycxr.prediction.snapshot import Weights
from raycxr.runs.record import BEST, read_history
from raycxr.storage.location import Location
from raycxr.training.loop import run_training
from raycxr.training.session import LocalSession

EPOCHS, AVERAGED = 5, 3
# Steps so large that single epochs swing, which their mean does not.
NETWORK = ["model={name: res_unet, base_channels: 4}", "schedule={name: constant, warmup_epochs: 0}",
           "optimizer={name: adam, lr: 0.03}", "train.metric=loss", f"train.epochs={EPOCHS}"]  # fmt: skip


def train(config: Path, run: Path, *overrides: str, resume: bool = False) -> Location:
    place = Location(run)
    session = LocalSession(place, EPOCHS, "min", resume)
    run_training(load_config(config, [*NETWORK, *overrides]), place, session, cpus=1)
    return place


@pytest.fixture(scope="module")
def run(phantom_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Location:
    """Five epochs whose checkpoints are all kept, and the mean over the last three."""
    return train(phantom_config, tmp_path_factory.mktemp("mean") / "run", f"train.swa_epochs={AVERAGED}")


def mean_by_hand(run: Location) -> Weights:
    last = [read_snapshot(folder)["model"] for folder in list_checkpoints(run)[-AVERAGED:]]
    return {name: torch.stack([weights[name].double() for weights in last]).mean(dim=0) for name in last[0]}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def assert_same_run(one: Location, two: Location) -> None:
    last = [read_snapshot(list_checkpoints(run)[-1]) for run in (one, two)]
    for part in ("model", "epoch_mean"):
        assert all(torch.equal(value, last[1][part][name]) for name, value in last[0][part].items())
    assert last[0]["epoch_mean_epochs"] == last[1]["epoch_mean_epochs"] == AVERAGED
    learned = [
        [{key: entry[key] for key in ("epoch", "lr", "train", "validation", "best")} for entry in read_history(run)]
        for run in (one, two)
    ]
    assert learned[0] == learned[1]
    marks = [json.loads((run / BEST / "bundle.json").read_text())["files"] for run in (one, two)]
    assert marks[0]["model.safetensors"] == marks[1]["model.safetensors"]


def test_the_mean_is_that_of_the_last_epochs(run: Location) -> None:
    snapshots = [read_snapshot(folder) for folder in list_checkpoints(run)]
    assert [snapshot["epoch_mean_epochs"] for snapshot in snapshots] == [0, 0, 1, 2, 3]
    assert snapshots[0]["epoch_mean"] is None
    for name, expected in mean_by_hand(run).items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(snapshots[-1]["epoch_mean"][name].double(), expected, rtol=1e-5, atol=1e-6)


def test_the_mean_is_one_more_entry_and_the_best_bundle_if_it_is_the_best(run: Location) -> None:
    history = read_history(run)
    assert [entry["epoch"] for entry in history] == [*range(1, EPOCHS + 2)]
    assert [entry.get("swa_epochs") for entry in history] == [None] * EPOCHS + [AVERAGED]
    assert history[-1]["train"] == {"images": 16}
    best = min(history, key=lambda entry: entry["validation"]["loss"])
    assert best is history[-1], "choose another learning rate: this test is about a mean that is the best"
    assert best["best"]
    model, _, bundle = load_model(run / BEST)
    assert (bundle.epoch, bundle.metrics) == (EPOCHS + 1, best["validation"])
    for name, expected in mean_by_hand(run).items():
        if not is_statistic(name):
            torch.testing.assert_close(model.state_dict()[name].double(), expected, rtol=1e-5, atol=1e-6)
    assert "mean of the weights of the last 3 epochs" in (run / BEST / "README.md").read_text()


def test_the_mean_is_no_epoch(phantom_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = [*NETWORK, f"train.swa_epochs={AVERAGED}", f"storage.uri={tmp_path}", "train.name=mean"]
    assert cli(["train", str(phantom_config), *overrides, "--local"]) == 0
    assert f"best: the mean of the last of {EPOCHS} epochs" in capsys.readouterr().out
    assert cli(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["mean", "finished", str(EPOCHS), "mean"]
    assert cli(["runs", str(tmp_path), "--json"]) == 0
    [listed] = json.loads(capsys.readouterr().out)
    assert (listed["epochs"], listed["best_epoch"]) == (EPOCHS, EPOCHS + 1)


def test_a_run_killed_within_the_window_ends_with_the_same_bits(
    run: Location, phantom_config: Path, tmp_path: Path
) -> None:
    for epochs_left in (0, 1, 2):
        killed = tmp_path / str(epochs_left)
        shutil.copytree(run.local_path, killed)
        shutil.rmtree(killed / BEST)
        for folder in list_checkpoints(Location(killed))[EPOCHS - epochs_left :]:
            folder.delete_tree()
        train(phantom_config, killed, f"train.swa_epochs={AVERAGED}", resume=True)
        assert_same_run(run, Location(killed))


def test_the_epochs_do_not_know_of_the_mean(run: Location, phantom_config: Path, tmp_path: Path) -> None:
    without = train(phantom_config, tmp_path / "without")
    pairs = zip(list_checkpoints(run), list_checkpoints(without), strict=True)
    for one, two in ((read_snapshot(left), read_snapshot(right)) for left, right in pairs):
        assert all(torch.equal(value, two["model"][name]) for name, value in one["model"].items())
        assert two["epoch_mean"] is None
    assert [entry["validation"] for entry in read_history(without)] == [
        entry["validation"] for entry in read_history(run)[:EPOCHS]
    ]


@pytest.mark.parametrize(
    ("train_section", "part"),
    [({"epochs": 3, "swa_epochs": 4}, "more than epochs = 3"), ({"swa_epochs": 2, "patience": 5}, "set one of them")],
)
def test_a_window_that_cannot_be(train_section: dict[str, int], part: str) -> None:
    with pytest.raises(ConfigurationError, match=part):
        check_config({"train": train_section}, "test")
