"""Charts of probabilities: well-formed, and their points where the figures say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from raycxr.report.probability_chart import calibration_chart, roc_chart

LABELS = np.array([False, False, True, False, True, True])
PROBABILITIES = np.array([0.05, 0.15, 0.45, 0.55, 0.85, 0.95])


def points(path: ElementTree.Element) -> list[tuple[float, float]]:
    """Points of a path as shares, 0 to 1 both ways."""
    numbers = [tuple(map(float, pair.split())) for pair in re.findall(r"[\d.]+ [\d.]+", path.attrib["d"])]
    return [((x - 48) / 320, 1 - (y - 12) / 320) for x, y in numbers]


def of_class(chart: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [element for element in chart.iter() if element.attrib.get("class") == name]


def test_roc_chart() -> None:
    parts = {"fold 1": (PROBABILITIES[:3], LABELS[:3]), "of one kind": (PROBABILITIES[4:], LABELS[4:])}
    chart = ElementTree.fromstring(roc_chart(parts, PROBABILITIES, LABELS, 0.5))
    assert len(of_class(chart, "part")) == 1
    curve = points(of_class(chart, "all")[0])
    expected = [(0, 0), (0, 1 / 3), (0, 2 / 3), (1 / 3, 2 / 3), (1 / 3, 1), (2 / 3, 1), (1, 1)]
    assert np.allclose(curve, expected, atol=0.001)
    title = of_class(chart, "dot")[0][0].text
    assert title == "threshold 0.5: 66.7 % of the positive films found, 33.3 % of the negative ones"


def test_calibration_chart() -> None:
    chart = ElementTree.fromstring(
        calibration_chart(np.array([0.02, 0.04, 0.72, 0.74, 1.0]), np.array([0, 0, 1, 0, 1]))
    )
    assert np.allclose(points(of_class(chart, "all")[0]), [(0.03, 0), (0.73, 0.5), (1, 1)], atol=0.001)
    assert [bar[0].text for bar in of_class(chart, "bars")] == [
        "2 films of mean probability 0.03, 0.0 % positive",
        "2 films of mean probability 0.73, 50.0 % positive",
        "1 film of mean probability 1.00, 100.0 % positive",
    ]


def test_films_of_one_kind_have_no_curve() -> None:
    chart = ElementTree.fromstring(roc_chart({}, PROBABILITIES, np.ones(6, bool), 0.5))
    assert of_class(chart, "all") == []
