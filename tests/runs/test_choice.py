"""What is pulled: the best by what was asked for, said with the reason; never a run that is not at its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raycxr.errors import ConfigurationError, DataError, StorageError
from raycxr.runs.choice import Choice, choose
from raycxr.runs.condition import parse_condition
from raycxr.storage.location import Location

MakeRun = Callable[..., Location]


@pytest.fixture
def place(tmp_path: Path) -> Location:
    return Location(tmp_path / "runs")


def chosen(place: Location, *conditions: str, metric: str | None = None, mode: Any = None) -> Choice:
    return choose(place.uri, metric, mode, [parse_condition(text) for text in conditions])


def trial_of(candidate: int, member: str | None = None, **parameters: Any) -> dict[str, Any]:
    return {"candidate": candidate, "member": member, "parameters": parameters}


def make_sweep(place: Location, metric: str = "dice.mean", mode: str = "max") -> None:
    (place / "sweep.json").write_text(json.dumps({"space": {}, "metric": metric, "mode": mode}))


def test_the_best_of_a_prefix_with_its_runner_up(place: Location, make_run: MakeRun) -> None:
    make_run(place, "good", 0.9, 0.3)
    make_run(place, "better", 0.95, 0.4)
    make_run(place / "deeper", "trial", 0.8, 0.1, trial=trial_of(0))
    found = chosen(place)
    assert found.runner_up is not None
    assert (found.best.run.location.name, found.runner_up.run.location.name) == ("better", "good")
    assert (found.metric, found.best.value, found.compared) == ("dice.mean", 0.95, 3)
    assert found.reason == "the highest dice.mean of 3 runs"
    found = chosen(place, metric="loss")
    assert found.best.run.location.name == "trial"
    assert found.reason == "the lowest loss of 3 runs"
    assert chosen(place, metric="loss", mode="max").best.run.location.name == "better"
    assert chosen(place / "good").runner_up is None
    assert chosen(place / "good" / "best").best.run.location == place / "good"


def test_conditions_narrow_the_choice(place: Location, make_run: MakeRun) -> None:
    make_run(place, "unet", 0.9)
    make_run(place, "fpn", 0.8, config={"model": {"name": "fpn"}})
    found = chosen(place, "model.name=fpn", "train.epochs>1")
    assert found.best.run.location.name == "fpn"
    assert found.runner_up is None
    assert found.reason == "the highest dice.mean of 1 run with model.name=fpn and train.epochs>1"
    with pytest.raises(DataError, match=r"nothing to pull under .*: none of 2 runs has model.name=pan"):
        chosen(place, "model.name=pan")
    with pytest.raises(ConfigurationError, match=r"unknown key 'model.nam'"):
        chosen(place, "model.nam=fpn")


def test_candidates_are_compared_by_the_mean_of_their_trials(place: Location, make_run: MakeRun) -> None:
    """A lucky seed does not win; of the best candidate, its best trial is pulled."""
    make_sweep(place)
    for candidate, values in enumerate([(0.99, 0.1), (0.8, 0.9), (0.84, 0.84)]):
        for seed, value in enumerate(values):
            trial = trial_of(candidate, f"seed {seed}", **{"optimizer.lr": 10.0**-candidate, "loss": {"dice": 1}})
            make_run(place, f"t{candidate}{seed}", value, trial=trial)
    found = chosen(place)
    assert (found.best.run.location.name, found.best.value) == ("t11", 0.9)
    assert found.best.mean == pytest.approx(0.85)
    assert found.runner_up is not None
    assert found.runner_up.run.location.name in ("t20", "t21")
    assert found.reason == (
        "the best trial (seed 1) of candidate 1 (lr 0.1, loss dice), which has the highest mean dice.mean of 3 "
        "candidates: 0.8500 over 2 trials"
    )
    assert chosen(place.parent).best.run.location.name == "t11"


def test_a_sweep_is_judged_by_its_own_metric(place: Location, make_run: MakeRun) -> None:
    make_sweep(place, "loss", "max")
    make_run(place, "a", 0.9, 0.1, trial=trial_of(0))
    make_run(place, "b", 0.8, 0.2, trial=trial_of(1))
    found = chosen(place)
    assert (found.best.run.location.name, found.metric, found.mode) == ("b", "loss", "max")


@pytest.mark.parametrize("others", ["running", "failed", None])
def test_a_candidate_that_is_not_complete_does_not_win(place: Location, make_run: MakeRun, others: str | None) -> None:
    for seed, value in enumerate((0.7, 0.8)):
        make_run(place, f"whole{seed}", value, trial=trial_of(0, f"seed {seed}"))
    make_run(place, "early0", 0.9, trial=trial_of(1, "seed 0"))
    if others is not None:
        make_run(place, "early1", 0.9, status=others, trial=trial_of(1, "seed 1"))
    assert chosen(place).best.run.location.name == "whole1"
    # Where it stands alone, a part of it is better than nothing; but what failed is not asked again.
    for seed in range(2):
        (place / f"whole{seed}").delete_tree()
    if others == "failed":
        with pytest.raises(DataError, match=r"2 runs \(1 finished, 1 failed\), none with a value of 'dice.mean'"):
            chosen(place)
    else:
        assert chosen(place).best.run.location.name == "early0"


def test_a_condition_on_the_status_lets_no_spared_candidate_win(place: Location, make_run: MakeRun) -> None:
    make_sweep(place)
    for fold, value in enumerate((0.8, 0.7)):
        make_run(place, f"whole_{fold}", value, status="finished", trial=trial_of(0, f"fold {fold}"))
    make_run(place, "spared", 0.79, status="stopped", trial=trial_of(1, "fold 0"))
    assert chosen(place, "status!=failed").best.run.location.name == "whole_0"
    make_run(place, "running", 0.95, status="running", trial=trial_of(2, "fold 0"))
    make_run(place, "running_too", 0.95, status="running", trial=trial_of(2, "fold 1"))
    assert chosen(place, "status!=failed").best.run.location.name == "running"
    assert chosen(place).best.run.location.name == "whole_0"
    assert chosen(place, "status=stopped").best.run.location.name == "spared"


def test_a_run_that_is_still_running_is_not_chosen_unasked(place: Location, make_run: MakeRun) -> None:
    make_run(place, "done", 0.8)
    make_run(place, "going", 0.9, status="running")
    make_run(place, "starting")
    found = chosen(place)
    assert found.best.run.location.name == "done"
    assert found.reason == "the highest dice.mean of 1 run; 2 runs still running not counted"
    assert chosen(place, "status=running").best.run.location.name == "going"
    assert chosen(place, "status!=failed").best.run.location.name == "going"
    assert chosen(place / "going").best.run.location.name == "going"


def test_runs_that_are_running_are_named_where_none_has_finished(place: Location, make_run: MakeRun) -> None:
    make_run(place, "starting")
    with pytest.raises(DataError, match=r"no run has finished, running: starting \(0 epochs of 40\)") as caught:
        chosen(place)
    assert caught.value.remedy == "wait for one"
    make_run(place, "going", 0.9, status="running")
    with pytest.raises(
        DataError, match=r"running: going \(1 epoch of 40, dice.mean 0.9000\), starting \(0 epochs of 40\)"
    ) as caught:
        chosen(place)
    assert "--where status=running" in caught.value.remedy


def test_weights_that_a_sweep_has_not_kept_are_told(place: Location, make_run: MakeRun) -> None:
    make_sweep(place)
    make_run(place, "winner", 0.9, 0.3, trial=trial_of(0))
    make_run(place, "loser", 0.8, 0.1, trial=trial_of(1), weights=False)
    assert chosen(place).best.run.location.name == "winner"
    with pytest.raises(
        DataError, match=r"the best of .*, loser with loss 0.1000, has no weights: .* \(tune.keep: best\)"
    ) as caught:
        chosen(place, metric="loss")
    assert caught.value.remedy == f"pull {place}/winner, with 0.3000 the best one that has some"
    (place / "winner" / "best" / "bundle.json").delete()
    with pytest.raises(DataError, match=r"winner .* has no weights") as caught:
        chosen(place)
    assert "no other run" in caught.value.remedy
    make_run(place.parent / "single", "run", 0.9, status="running", weights=False)
    with pytest.raises(DataError, match="has no weights: they are being written"):
        chosen(place.parent / "single" / "run")


def test_a_failed_trial_is_taken_by_its_own_name_alone(place: Location, make_run: MakeRun) -> None:
    make_run(place, "failed", 0.9, status="failed", trial=trial_of(0))
    make_run(place, "stopped", 0.8, status="stopped", trial=trial_of(1))
    assert chosen(place).best.run.location.name == "stopped"
    assert chosen(place / "failed").best.run.location.name == "failed"


def test_a_value_that_is_undefined_does_not_win(place: Location, make_run: MakeRun) -> None:
    make_run(place, "earlier", float("nan"))
    make_run(place, "poor", 0.1)
    assert chosen(place).best.run.location.name == "poor"
    assert chosen(place, mode="min").best.run.location.name == "poor"


def test_nothing_to_pull(place: Location, make_run: MakeRun) -> None:
    with pytest.raises(StorageError):
        chosen(place)
    (place / "notes").write_text("no run")
    with pytest.raises(DataError, match=r"nothing to pull under .*: no run"):
        chosen(place)
    make_run(place, "failed", status="failed")
    with pytest.raises(DataError, match=r"1 run \(1 failed\), none with a value of 'dice.mean'"):
        chosen(place)
    make_run(place, "run", 0.9)
    with pytest.raises(ConfigurationError, match="no run of 2 runs recorded the metric 'auc'"):
        chosen(place, metric="auc")
