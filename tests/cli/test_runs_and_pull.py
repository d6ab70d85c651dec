"""`raycxr runs` and `raycxr pull` over sweeps: what they print, what they refuse, and how fast they begin."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import answer, call

from raycxr.storage.location import Location

MakeRun = Callable[..., Location]

START_SECONDS = 1.0


@pytest.fixture
def sweep(tmp_path: Path, make_run: MakeRun) -> Location:
    """Two candidates of two seeds each, and a third that is still running; the weights of the best alone are kept."""
    place = Location(tmp_path / "runs" / "lungs")
    rates = (0.001, 0.1, 0.01)
    for candidate, (name, values) in enumerate([("unet", (0.91, 0.93)), ("fpn", (0.8, 0.85)), ("unet", (0.5,))]):
        for seed, value in enumerate(values):
            parameters = {"model.name": name, "optimizer.lr": rates[candidate]}
            trial = {"candidate": candidate, "member": f"seed {seed}", "parameters": parameters}
            config = {"model": {"name": name}, "optimizer": {"lr": rates[candidate]}, "train": {"seed": seed}}
            status = "running" if candidate == 2 else "finished"
            make_run(place, f"t{candidate}_{seed}", value, 1 - value, config, status, trial, weights=candidate == 0)
    (place / "sweep.json").write_text(json.dumps({"space": {}, "metric": "dice.mean", "mode": "max"}))
    return place


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_trials_are_listed_with_their_parameters(capsys: pytest.CaptureFixture[str], sweep: Location) -> None:
    _, out, _ = call(capsys, "runs", sweep)
    title, *listed = rows(out)
    assert title == ["run", "status", "epochs", "best", "dice.mean", "candidate", "member", "model", "lr"]
    assert listed[0] == ["t0_1", "finished", "1", "1", "0.9300", "0", "seed", "1", "unet", "0.001"]
    assert [row[0] for row in listed] == ["t0_1", "t0_0", "t1_1", "t1_0", "t2_0"]


def test_among_other_runs_trials_show_their_network(
    capsys: pytest.CaptureFixture[str], sweep: Location, make_run: MakeRun
) -> None:
    make_run(sweep.parent, "alone", 0.4)
    _, out, _ = call(capsys, "runs", sweep.parent, "--sort", "run")
    title, *listed = rows(out)
    assert title[-1] == "model"
    assert [row[0] for row in listed][:2] == ["alone", "lungs/t0_0"]
    assert listed[0][-2:] == ["unet", "resnet18"]


def test_keys_with_the_same_last_part_are_shown_in_full(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, make_run: MakeRun
) -> None:
    parameters = {"loss_settings.focal.gamma": 1, "loss_settings.focal_tversky.gamma": 2}
    trial = {"candidate": 0, "member": None, "parameters": parameters}
    make_run(Location(tmp_path), "one", 0.5, trial=trial)
    make_run(Location(tmp_path), "two", 0.4, trial={**trial, "parameters": {"loss_settings.focal.gamma": 3}})
    _, out, _ = call(capsys, "runs", tmp_path)
    assert rows(out)[0][-2:] == list(parameters)
    assert rows(out)[2][-2:] == ["3", "-"]


def test_runs_are_filtered_and_sorted(capsys: pytest.CaptureFixture[str], sweep: Location) -> None:
    def listed(*options: str) -> list[str]:
        return [entry["run"].rpartition("/")[2] for entry in answer(capsys, "runs", sweep, *options)]

    assert listed("--where", "model.name=fpn") == ["t1_1", "t1_0"]
    assert listed("--where", "model.name=unet", "--where", "optimizer.lr<0.01") == ["t0_1", "t0_0"]
    assert listed("--status", "running", "--status", "failed") == ["t2_0"]
    assert listed("--sort", "optimizer.lr") == ["t0_1", "t0_0", "t2_0", "t1_1", "t1_0"]
    assert listed("--metric", "loss", "--mode", "max")[0] == "t2_0"
    assert listed("--where", "model.name=pan") == []
    assert call(capsys, "runs", sweep, "--where", "model.name=pan")[1].startswith("none of 5 runs under ")


def test_a_trial_in_json(capsys: pytest.CaptureFixture[str], sweep: Location) -> None:
    entry = answer(capsys, "runs", sweep, "--where", "train.seed=1", "--status", "finished")[1]
    assert entry["run"] == f"{sweep}/t1_1"
    assert entry["trial"] == {
        "candidate": 1,
        "member": "seed 1",
        "parameters": {"model.name": "fpn", "optimizer.lr": 0.1},
    }
    assert (entry["has_bundle"], entry["metrics"]["dice"]["mean"], entry["reason"]) == (False, 0.85, None)


def test_the_best_of_a_sweep_is_pulled_and_said_why(
    capsys: pytest.CaptureFixture[str], sweep: Location, tmp_path: Path
) -> None:
    _, out, _ = call(capsys, "pull", sweep, tmp_path / "best")
    assert out.splitlines() == [
        f"{tmp_path}/best: epoch 1 of {sweep}/t0_1, dice.mean 0.9300 on validation",
        "  chosen: the best trial (seed 1) of candidate 0 (model unet, lr 0.001), which has the highest mean dice.mean "
        "of 2 candidates: 0.9200 over 2 trials; 1 run still running not counted",
        "  runner-up: t1_1 with 0.8500, mean 0.8250",
    ]
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == b"weights of t0_1"
    pulled = answer(capsys, "pull", sweep, tmp_path / "other", "--where", "train.seed=0", "--metric", "loss")
    assert pulled["bundle"] == str(tmp_path / "other")
    assert (pulled["run"], pulled["metric"], pulled["value"]) == (f"{sweep}/t0_0", "loss", pytest.approx(0.09))
    assert pulled["runner_up"] == {"run": f"{sweep}/t1_0", "value": pytest.approx(0.2)}
    assert pulled["reason"].startswith("the lowest loss of 2 runs with train.seed=0")


@pytest.mark.parametrize(
    ("options", "status", "part"),
    [
        (["--where", "model.nam=unet"], 2, "unknown key 'model.nam'"),
        (["--where", "model.name"], 2, "is not of the form KEY=VALUE"),
        (["--where", "optimizer.lr<low"], 2, "'low' is not a number"),
        (["--metric", "dice.heart"], 2, "recorded the metric 'dice.heart'"),
        (["--where", "model.name=fpn"], 1, "has no weights"),
        (["--where", "model.name=pan"], 1, "none of 5 runs has model.name=pan"),
        (["--where", "optimizer.lr=0.01"], 1, "running: t2_0 (1 epoch of 40, dice.mean 0.5000)"),
    ],
)
def test_what_cannot_be_pulled_is_one_line(
    capsys: pytest.CaptureFixture[str], sweep: Location, tmp_path: Path, options: list[str], status: int, part: str
) -> None:
    got, out, err = call(capsys, "pull", sweep, tmp_path / "best", *options, "--json")
    error = json.loads(out)["error"]
    assert got == status
    assert part in error["message"]
    assert error["remedy"]
    assert [line for line in err.splitlines() if line.startswith("raycxr: ")] == [f"raycxr: {error['message']}"]
    assert not (tmp_path / "best").exists()


@pytest.mark.parametrize("options", [["--sort", "modle"], ["--status", "done"], ["--metric", "auc"]])
def test_what_cannot_be_listed_is_one_line(
    capsys: pytest.CaptureFixture[str], sweep: Location, options: list[str]
) -> None:
    status, _, err = call(capsys, "runs", sweep, *options)
    assert status == 2
    assert options[1] in err


def test_neither_torch_nor_ray_is_needed_and_a_pull_begins_within_a_second(sweep: Location, tmp_path: Path) -> None:
    """By the time that the processor spends on it, which a machine that is busy with other work does not lengthen."""
    code = (
        "import sys; from raycxr.cli.main import run\n"
        "assert run(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'ray', 'pandas', 'scipy', 'pyarrow'} & set(sys.modules), sorted(sys.modules)\n"
    )

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    options = ["--where", "model.name=unet"]
    taken = [seconds("pull", sweep.uri, str(tmp_path / f"best{number}"), *options) for number in range(3)]
    assert min(taken) < START_SECONDS
    assert seconds("runs", sweep.uri, *options, "--sort", "optimizer.lr") < 2 * START_SECONDS


def test_a_damaged_run_is_left_out(sweep: Location, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "t1_0" / "run.json").write_text('{"status": "fini')
    status, out, err = call(capsys, "runs", sweep.parent)
    assert (status, out.count("t1_")) == (0, 1)
    assert f"left out: {sweep / 't1_0' / 'run.json'} is not valid JSON" in err
    status, out, err = call(capsys, "pull", sweep, tmp_path / "best")
    assert (status, "left out" in err, "lungs/t0_1" in out) == (0, True, True)
