"""The search finds exactly what applying every rule of the grid to every film would find."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raycxr.config.postprocess import GridSection
from raycxr.metrics.overlap import dice
from raycxr.postprocess.rule import DecisionRule, apply_rules
from raycxr.postprocess.search import FoundRule, RuleSearch

Film = tuple[NDArray[np.float32], NDArray[np.bool_], np.float32]

TRIPLET = DecisionRule(top=0.6, area=0.1, bottom=0.4)
GRID = GridSection(
    threshold=(0.5, 0.25, 0.75),
    top=(0.5, 0.75, 0.9),
    area=(0.0, 0.05, 0.3),
    bottom=(0.25, 0.6),
    image_threshold=(0, 0.5),
)


def search(rule: DecisionRule, grid: GridSection, films: list[Film]) -> FoundRule:
    searching = RuleSearch(rule, grid)
    for probabilities, truth, image_probability in films:
        searching.add(probabilities, truth, image_probability)
    return searching.result()


def score(rule: DecisionRule, films: list[Film]) -> float:
    """Mean Dice, rule by rule and film by film."""
    values = []
    for probabilities, truth, image_probability in films:
        masks = apply_rules([rule], probabilities[None], np.array([image_probability], np.float32))
        values.append(dice(masks, truth[None])[0])
    return float(np.mean(values))


def every_rule(rule: DecisionRule, grid: GridSection) -> list[DecisionRule]:
    gates: list[float | None] = [None] if rule.image_threshold is None else [*grid.image_threshold]
    if rule.kind == "threshold":
        return [DecisionRule(threshold=t, image_threshold=g) for g, t in product(gates, grid.threshold)]
    return [
        DecisionRule(top=top, area=area, bottom=bottom, image_threshold=gate)
        for gate, top, area, bottom in product(gates, grid.top, grid.area, grid.bottom)
        if top >= bottom
    ]


@st.composite
def some_films(draw: st.DrawFn) -> list[Film]:
    """Films of different sizes whose probabilities often lie exactly on a candidate; some without the structure."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    films = []
    for _ in range(draw(st.integers(1, 6))):
        shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        probabilities = random.choice([0, 0.1, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9, 1], shape).astype(np.float32)
        truth = (random.random(shape) < probabilities) & draw(st.booleans())
        films.append((probabilities, truth, np.float32(random.choice([0.1, 0.5, 0.9]))))
    return films


@pytest.mark.parametrize("kind", ["threshold", "triplet"])
@pytest.mark.parametrize("gate", [None, 0.3])
@given(films=some_films())
@settings(deadline=None, max_examples=40)
def test_it_agrees_with_brute_force(kind: str, gate: float | None, films: list[Film]) -> None:
    rule = DecisionRule(threshold=0.5) if kind == "threshold" else TRIPLET
    rule = rule.model_copy(update={"image_threshold": gate, "components": 2})
    plain = rule.model_copy(update={"components": None})
    found = search(rule, GRID, films)
    # Where no film shows the structure, any strict rule is best, and none of them is worth anything.
    candidates = every_rule(plain, GRID) if any(truth.any() for _, truth, _ in films) else ()
    best = max(score(candidate, films) for candidate in [plain, *candidates])
    assert found.before == pytest.approx(score(plain, films), abs=1e-12)
    assert found.after == pytest.approx(best, abs=1e-12)
    assert found.rule.components == 2
    assert score(found.rule.model_copy(update={"components": None}), films) == pytest.approx(best, abs=1e-12)
    assert found.empty == pytest.approx(np.mean([not truth.any() for _, truth, _ in films]))


def film(probabilities: list[float], truth: list[int]) -> Film:
    return np.array([probabilities], np.float32), np.array([truth]) > 0, np.float32(0.5)


def test_the_rule_stays_where_nothing_is_better() -> None:
    films = [film([0.9, 0.9, 0.1, 0.1], [1, 1, 0, 0])]
    rule = DecisionRule(threshold=0.37)
    found = search(rule, GridSection(), films)
    assert found.rule == rule
    assert found.before == found.after == 1.0


def test_of_equal_rules_the_middle_one_is_taken() -> None:
    # Every threshold from 0.3 to below 0.7 is perfect: 0.3, 0.35, ..., 0.65.
    films = [film([0.7, 0.7, 0.3, 0.1], [1, 1, 0, 0])]
    found = search(DecisionRule(threshold=0.9), GridSection(), films)
    assert found.rule.threshold in (0.45, 0.5)
    assert (found.before, found.after) == (0.0, 1.0)
    # Of an even number of them the strictest of the two in the middle.
    assert found.rule.threshold == 0.5
    odd = search(DecisionRule(threshold=0.9), GridSection(threshold=(0.3, 0.4, 0.6)), films)
    assert odd.rule.threshold == 0.4


def test_a_triplet_tells_noise_from_lesions() -> None:
    """A faint lesion with a sure heart, and noise that is as faint without: no threshold is right for both."""
    lesion = film([0.9, 0.4, 0.4, 0.0], [1, 1, 1, 0])
    noise = film([0.0, 0.4, 0.4, 0.0], [0, 0, 0, 0])
    films = [lesion, noise, noise]
    best_threshold = search(DecisionRule(threshold=0.5), GridSection(), films)
    assert best_threshold.after < 0.85
    found = search(DecisionRule(top=0.95, area=0.01, bottom=0.5), GridSection(area=(0.01, 0.2, 0.3)), films)
    assert found.after == pytest.approx(1.0)
    assert found.rule.area in (0.01, 0.2)
    assert found.rule.bottom is not None
    assert found.rule.bottom < 0.4


def test_an_image_gate_is_searched_only_where_it_is_asked_for() -> None:
    lesion, healthy = film([0.9, 0.1], [1, 0]), film([0.9, 0.1], [0, 0])
    films = [(lesion[0], lesion[1], np.float32(0.8)), (healthy[0], healthy[1], np.float32(0.35))]
    gated = search(DecisionRule(threshold=0.5, image_threshold=0.05), GridSection(), films)
    assert gated.after == 1.0
    assert gated.rule.image_threshold in (0.5, 0.6)
    plain = search(DecisionRule(threshold=0.5), GridSection(), films)
    assert plain.after == 0.5
    assert plain.rule.image_threshold is None
    with pytest.raises(ValueError, match="image head"):
        RuleSearch(gated.rule, GridSection()).add(lesion[0], lesion[1])


def test_what_cannot_be_searched() -> None:
    with pytest.raises(ValueError, match="nothing to search"):
        RuleSearch(DecisionRule(), GridSection())
    with pytest.raises(ValueError, match="no film"):
        RuleSearch(TRIPLET, GridSection()).result()
    with pytest.raises(ValueError, match="do not fit"):
        RuleSearch(TRIPLET, GridSection()).add(np.zeros((2, 2), np.float32), np.zeros((2, 3), bool))
