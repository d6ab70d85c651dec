"""Importance of parameters: what decides is found, what does not is told as chance."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import optuna
import pytest
from made_sweep import MadeSweep, MadeTrial, write_sweep

from raycxr.report.parameter_importance import importance_chart, parameter_importance
from raycxr.report.searched_parameter import searched_parameters
from raycxr.report.sweep_results import SweepResults, read_results
from raycxr.storage.location import Location

SPACE: dict[str, dict[str, Any]] = {
    "model.name": {"choice": ["unet", "fpn", "linknet"]},
    "loss": {"choice": [{"dice": 1}, {"bce": 1}]},
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    "depth": {"randint": [1, 6], "when": {"model.name": "unet"}},
}


def read(folder: Path, trials: list[MadeTrial], mode: str = "max") -> SweepResults:
    write_sweep(Location(folder / "sweep"), MadeSweep(trials, SPACE, mode=mode))
    return read_results(Location(folder / "sweep"))


def drawn(number: int, sign: float = 1) -> list[MadeTrial]:
    """Candidates of which the architecture decides who is best, and the learning rate who is worst."""
    draw, trials = random.Random(0), []
    for candidate in range(number):
        parameters: dict[str, Any] = {
            "model.name": draw.choice(SPACE["model.name"]["choice"]),
            "loss": draw.choice(SPACE["loss"]["choice"]),
            "optimizer.lr": 10 ** draw.uniform(-4, -2),
        }
        if parameters["model.name"] == "unet":
            parameters["depth"] = draw.randint(1, 6)
        value = draw.gauss(0.8, 0.01) if "depth" in parameters else 0.5 - 0.05 * parameters["optimizer.lr"] / 1e-2
        trials.append(MadeTrial(candidate, parameters, [0.5 + sign * (value - 0.5)]))
    return trials


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_what_decides(tmp_path: Path, mode: str, sign: float) -> None:
    results = read(tmp_path, drawn(60, sign), mode)
    importances = parameter_importance(results, searched_parameters(SPACE, results.candidates))
    assert {importance.key for importance in importances} == set(SPACE)
    assert sum(importance.share for importance in importances) == pytest.approx(1)
    assert importances[0].key == "model.name"
    assert [importance.key for importance in importances if importance.is_telling] == ["model.name"]
    chart = ElementTree.fromstring(importance_chart(importances))
    bars = [element.attrib for element in chart.iter() if element.attrib.get("class") in ("bar", "weak")]
    assert [bar["class"] for bar in bars] == ["bar", "weak", "weak", "weak"]
    assert float(bars[0]["width"]) == max(float(bar["width"]) for bar in bars)


def test_the_same_sweep_has_the_same_importance(tmp_path: Path) -> None:
    results = read(tmp_path, drawn(20))
    parameters = searched_parameters(SPACE, results.candidates)
    assert parameter_importance(results, parameters) == parameter_importance(results, parameters)


def test_where_nothing_can_be_said(tmp_path: Path) -> None:
    few = read(tmp_path / "few", drawn(7))
    assert parameter_importance(few, searched_parameters(SPACE, few.candidates)) == []
    same = [MadeTrial(trial.candidate, trial.parameters, [0.5]) for trial in drawn(20)]
    equal = read(tmp_path / "equal", same)
    assert parameter_importance(equal, searched_parameters(SPACE, equal.candidates)) == []


def test_a_parameter_of_one_value_is_left_out(tmp_path: Path) -> None:
    trials = [MadeTrial(t.candidate, {**t.parameters, "loss": {"dice": 1}}, t.curve) for t in drawn(20)]
    results = read(tmp_path, trials)
    importances = parameter_importance(results, searched_parameters(SPACE, results.candidates))
    assert "loss" not in {importance.key for importance in importances}


def test_running_candidates_do_not_count(tmp_path: Path) -> None:
    trials = drawn(12)
    begun = [MadeTrial(t.candidate, t.parameters, t.curve, "running", epochs=9) for t in trials[:5]]
    results = read(tmp_path, [*begun, *trials[5:]])
    assert parameter_importance(results, searched_parameters(SPACE, results.candidates)) == []


def test_optuna_stays_as_loud_as_it_was(tmp_path: Path) -> None:
    results = read(tmp_path, drawn(10))
    before = optuna.logging.get_verbosity()
    parameter_importance(results, searched_parameters(SPACE, results.candidates))
    assert optuna.logging.get_verbosity() == before


def test_scikit_learn_is_not_needed(tmp_path: Path) -> None:
    read(tmp_path, drawn(10))
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from raycxr.report.sweep_page import sweep_page\n"
        "from raycxr.report.sweep_results import read_results\n"
        "from raycxr.storage.location import Location\n"
        f"assert 'PED-ANOVA' in sweep_page(read_results(Location({str(tmp_path / 'sweep')!r})))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
