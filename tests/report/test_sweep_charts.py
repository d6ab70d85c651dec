"""Charts of a sweep: points, lines and cells where the figures say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from made_sweep import MadeSweep, MadeTrial, write_sweep

from raycxr.report.choice_table import choice_table, telling_choices
from raycxr.report.cost_chart import cost_chart, pareto_front
from raycxr.report.learning_curves import cut_edge, learning_curves
from raycxr.report.parallel_coordinates import parallel_coordinates
from raycxr.report.parameter_importance import Importance
from raycxr.report.scale import Scale
from raycxr.report.searched_parameter import SearchedParameter, searched_parameters
from raycxr.report.sweep_results import SweepResults, read_results
from raycxr.storage.location import Location

NAN = float("nan")
SPACE: dict[str, dict[str, Any]] = {
    "model.name": {"choice": ["unet", "fpn"]},
    "model.encoder": {"choice": ["resnet18", "resnet34"], "when": {"model.name": "unet"}},
    "loss": {"choice": [{"bce": 1, "dice": 1}, {"dice": 1}]},
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
}


def of_class(chart: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [element for element in chart.iter() if name in element.attrib.get("class", "").split()]


def candidate(number: int, value: float, lr: float, encoder: str | None = None, **options: Any) -> MadeTrial:
    parameters = {"model.name": "unet" if encoder else "fpn", "loss": {"dice": 1, "bce": 1}, "optimizer.lr": lr}
    return MadeTrial(number, parameters | ({"model.encoder": encoder} if encoder else {}), [value], **options)


def read(folder: Path, trials: list[MadeTrial], **options: Any) -> tuple[SweepResults, list[SearchedParameter]]:
    write_sweep(Location(folder / "sweep"), MadeSweep(trials, SPACE, **options))
    results = read_results(Location(folder / "sweep"))
    return results, searched_parameters(results.record["space"], results.candidates)


def test_parameters_of_a_space_and_of_what_was_tried(tmp_path: Path) -> None:
    trials = [candidate(0, 0.9, 0.05, "resnet18"), MadeTrial(1, {"loss": {"focal": 1}, "train.swa": 3}, [0.8])]
    results, parameters = read(tmp_path, trials)
    assert [parameter.key for parameter in parameters] == [*SPACE, "train.swa"]
    name, encoder, loss, lr, swa = parameters
    assert name.choices == ("unet", "fpn")
    # Mappings are the same in any order, and a value from outside of the space is a choice more.
    assert loss.choices == ({"bce": 1, "dice": 1}, {"dice": 1}, {"focal": 1})
    assert [loss.choice_of(one) for one in results.candidates] == [0, 2]
    assert [encoder.choice_of(one) for one in results.candidates] == [0, None]
    assert lr.scale == Scale(1e-4, 0.05, True)
    assert [lr.number_of(one) for one in results.candidates] == [0.05, None]
    assert swa.choices == (3,)


def test_parallel_coordinates(tmp_path: Path) -> None:
    trials = [
        candidate(0, 0.90, 1e-4, "resnet18"),
        candidate(1, 0.92, 1e-3, "resnet34", status="stopped", epochs=5),
        candidate(2, 0.94, 1e-2),
        candidate(3, 0.99, 1e-2, status="failed", reason="lost"),
    ]
    chart = ElementTree.fromstring(parallel_coordinates(*read(tmp_path, trials)))
    links = list(chart.iter("a"))
    assert [link.attrib["href"] for link in links] == ["#c0", "#c1", "#c2"]
    assert [link.attrib["class"] for link in links] == ["q0", "q4", "winner"]
    assert [link[1].attrib["class"] for link in links] == ["line", "line early", "line"]
    assert links[1][0].text == (
        "trial-0001: 0.9200 (stopped early); model.name unet, model.encoder resnet34, loss dice+bce, optimizer.lr 0.001"
    )
    assert [name.text for name in of_class(chart, "name")] == ["name", "encoder", "loss", "lr", "dice.mean"]
    # Heights on the axes of encoder, learning rate and metric, from 46 at the top to 346.
    ends = [re.findall(r"[\d.]+(?= [\d.]+(?:C|$))|[\d.]+(?=C|$)", link[1].attrib["d"]) for link in links]
    heights = [[float(number) for number in line[1::2]] for line in ends]
    encoder, lr, metric = ([line[axis] for line in heights] for axis in (1, 3, 4))
    assert encoder[0] < encoder[1] < encoder[2]
    assert lr == pytest.approx([346, 196, 46])
    assert metric == pytest.approx([46 + 300 * (1 - share) for share in (0.04 / 1.08, 0.5, 1.04 / 1.08)], abs=0.1)
    assert "not set" in [label.text for label in of_class(chart, "tick")]


def test_one_bad_candidate_does_not_press_the_others_together(tmp_path: Path) -> None:
    trials = [candidate(number, 0.9 + number / 1000, 1e-3) for number in range(12)] + [candidate(12, 0.1, 1e-4)]
    drawn = parallel_coordinates(*read(tmp_path, trials))
    assert "0.9000 or worse at the end" in drawn


def test_learning_curves(tmp_path: Path) -> None:
    trials = [
        MadeTrial(0, {}, [0.80, 0.86, 0.90, 0.92]),
        MadeTrial(1, {}, [0.80, NAN, 0.90, 0.91]),
        MadeTrial(2, {}, [0.80, 0.85], "stopped", epochs=4),
        MadeTrial(3, {}, [0.10], "failed", "lost", epochs=4),
        MadeTrial(4, {}, [NAN], "running", epochs=4),
    ]
    results, _ = read(tmp_path, trials)
    scale = Scale(0.85, 0.92)
    chart = ElementTree.fromstring(learning_curves(results, scale))
    lines = {link.attrib["href"]: link for link in chart.iter("a")}
    assert list(lines) == ["#c3", "#c2", "#c1", "#c0"]
    marks = ("dot", "dot", "bar", "cross")
    assert all(len(of_class(lines[f"#c{number}"], mark)) == 1 for number, mark in enumerate(marks))
    drawn = {name: [tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", line[1].attrib["d"])]
             for name, line in lines.items()}  # fmt: skip
    assert [len(drawn[f"#c{number}"]) for number in range(4)] == [4, 3, 2, 1]
    # The missing epoch leaves a gap.
    assert lines["#c1"][1].attrib["d"].count("M") == 2
    assert [x for x, _ in drawn["#c0"]] == pytest.approx([62, 322, 582, 842])
    assert lines["#c0"].attrib["class"] == "winner"
    assert cut_edge(results, scale) == pytest.approx(0.78 - 0.04 * 0.14)


def test_pareto_front(tmp_path: Path) -> None:
    trials = [
        candidate(0, 0.90, 1e-3, seconds=10),
        candidate(1, 0.89, 1e-3, seconds=20),
        candidate(2, 0.95, 1e-3, seconds=30),
        candidate(3, 0.95, 1e-3, seconds=40),
        candidate(4, 0.93, 1e-3, seconds=30),
        candidate(5, 0.92, 1e-3, seconds=1, status="stopped", epochs=9),
    ]
    results, parameters = read(tmp_path, trials)
    front = pareto_front(results)
    assert [one.number for one in front] == [0, 2]
    chart = ElementTree.fromstring(cost_chart(results, front, [parameter.key for parameter in parameters]))
    points = {link.attrib["href"]: link[1].attrib for link in chart.iter("a")}
    assert [points[f"#c{number}"]["class"] for number in range(6)] == ["front", "", "winner", "", "", "early"]
    assert [number.text for number in of_class(chart, "number")] == ["1", "2"]
    # From 1 s to 40 s the axis is logarithmic.
    x = [float(points[f"#c{number}"]["cx"]) for number in (5, 0, 3)]
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(1 / 1.602, abs=0.001)


def test_cost_of_members_is_that_of_one(tmp_path: Path) -> None:
    trials = [candidate(0, 0.9, 1e-3, seconds=seconds, member=f"seed {seconds}") for seconds in (10, 20)]
    results, _ = read(tmp_path, [*trials, candidate(1, 0.8, 1e-3, seconds=16)])
    assert [one.number for one in pareto_front(results)] == [0]


def test_choice_table(tmp_path: Path) -> None:
    trials = [
        MadeTrial(0, {"model.name": "unet", "loss": {"dice": 1}}, [0.91]),
        MadeTrial(1, {"model.name": "unet", "loss": {"dice": 1}}, [0.95]),
        MadeTrial(2, {"model.name": "fpn", "loss": {"dice": 1}}, [0.90], "failed", "lost"),
        MadeTrial(3, {"loss": {"bce": 1, "dice": 1}}, [0.85]),
    ]
    results, parameters = read(tmp_path, trials)
    rows, columns = telling_choices(parameters, [])
    table = ElementTree.fromstring(choice_table(results, rows, columns, Scale(0.85, 0.95)))
    cells = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert cells == [
        ["", "loss"],
        ["model.name", "bce+dice", "dice"],
        ["unet", "not tried", "0.95002 candidates"],
        ["fpn", "not tried", "no value1 candidate"],
        ["not set", "0.85001 candidate", "not tried"],
    ]
    assert [cell.attrib["class"] for cell in of_class(table, "top")] == ["q8 top"]
    assert [cell.attrib["class"] for cell in of_class(table, "q0")] == ["q0"]


def test_the_most_important_choices_are_tabled_where_architecture_and_loss_are_not_searched() -> None:
    parameters = [SearchedParameter(key, (1, 2), None) for key in ("model.name", "a", "b")]
    parameters += [SearchedParameter("only", (1,), None), SearchedParameter("lr", None, Scale(0, 1))]
    importances = [Importance("lr", 0.5, 0), Importance("b", 0.3, 0), Importance("model.name", 0.2, 0)]
    assert [parameter.key for parameter in telling_choices(parameters, importances)] == ["b", "model.name"]
    assert [parameter.key for parameter in telling_choices(parameters, [])] == ["model.name", "a"]
    assert [parameter.key for parameter in telling_choices(parameters[2:], [])] == ["b"]
