"""How much each parameter decides whether a candidate is among the best, beside what chance alone would show."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from raycxr.number_text import percent
from raycxr.report.searched_parameter import SearchedParameter, identity
from raycxr.report.sweep_results import SweepResults, candidate_status
from raycxr.runs.sweep import Candidate

# With fewer candidates chance rules: of eight, four would stand against eight.
FEWEST = 8
# The best are this part of all, and never fewer than `_FEWEST_BEST` unless that were more than half.
_BEST_PART, _FEWEST_BEST = 0.25, 5
_SHUFFLES = 100

_BAR, _RIGHT, _ROW, _LETTER = 300, 190, 34, 6.8

STYLE = """
svg.importance { display: block; width: 100%; max-width: 46rem; min-width: 30rem; }
svg.importance text { font: 12px system-ui, sans-serif; fill: currentColor; }
.importance .part, .importance .chance { fill: var(--muted); }
.importance .bar { fill: #0072b2; } .importance .weak { fill: #8886; }
.importance line { stroke: currentColor; stroke-width: 1.6; }
@media (prefers-color-scheme: dark) { .importance .bar { fill: #56b4e9; } }
"""


@dataclass(frozen=True)
class Importance:
    """Of one parameter: its share of all parameters' importance, and what chance reaches in one case of twenty."""

    key: str
    share: float
    chance: float

    @property
    def is_telling(self) -> bool:
        """Whether it is more than chance."""
        return self.share > self.chance


def settled(results: SweepResults) -> list[Candidate]:
    """Candidates whose value is final."""
    return [candidate for candidate in results.ranked if candidate_status(candidate) in ("finished", "stopped")]


def varied(tried: Sequence[Candidate], parameters: Sequence[SearchedParameter]) -> list[SearchedParameter]:
    """Parameters of which candidates had several values."""
    values = {
        parameter.key: {
            identity(candidate.parameters[parameter.key]) for candidate in tried if parameter.applies(candidate)
        }
        for parameter in parameters
    }
    return [parameter for parameter in parameters if len(values[parameter.key]) > 1]


def parameter_importance(results: SweepResults, parameters: Sequence[SearchedParameter]) -> list[Importance]:
    """Importance of each parameter, the greatest first; empty where nothing can be said.

    PED-ANOVA: how differently the best quarter of the candidates lies in a parameter than all of them
    (Watanabe et al., IJCAI 2023, section 4; of conditional parameters Optuna's extension, only among candidates that
    have them). Whether that is more than chance is found by dealing the same values to the candidates at random.
    """
    tried = settled(results)
    values = np.array([results.value(candidate) for candidate in tried])
    if len(tried) < FEWEST or len(np.unique(values)) < 2:
        return []
    study = _study(tried, varied(tried, parameters))
    # The evaluator takes lower ones for better.
    costs = values if results.mode == "min" else -values
    found = _divergences(study, costs)
    total = sum(found.values())
    if not total > 0:
        return []
    random = np.random.default_rng(0)
    dealt = [_divergences(study, random.permutation(costs)) for _ in range(_SHUFFLES)]
    chance = {key: float(np.percentile([one[key] for one in dealt], 95)) for key in found}
    listed = [Importance(key, value / total, chance[key] / total) for key, value in found.items()]
    return sorted(listed, key=lambda importance: -importance.share)


def importance_chart(importances: Sequence[Importance]) -> str:
    """SVG with a bar for each parameter and a mark at what chance reaches; bars within chance are grey."""
    left = 20 + _LETTER * max(len(importance.key) for importance in importances)
    height, width = _ROW * len(importances) + 8, left + _BAR + _RIGHT
    longest = max(max(importance.share, min(importance.chance, 1)) for importance in importances)
    parts = [
        f"<svg class='importance' viewBox='0 0 {width:.0f} {height}' role='img' "
        "aria-label='Importance of each parameter'>"
    ]
    for row, importance in enumerate(importances):
        top = _ROW * row + 6
        length = _BAR * importance.share / longest
        mark = left + _BAR * min(importance.chance / longest, 1)
        section, _, name = importance.key.rpartition(".")
        label = f"<tspan class='part'>{escape(section)}{'.' if section else ''}</tspan>{escape(name)}"
        told = percent(importance.share) + ("" if importance.is_telling else ", no more than chance")
        kind = "bar" if importance.is_telling else "weak"
        parts.append(
            f"<text x='{left - 10:.1f}' y='{top + 16}' text-anchor='end'>{label}</text>"
            f"<rect class='{kind}' x='{left:.1f}' y='{top}' width='{max(length, 1):.1f}' height='{_ROW - 12}' rx='2'/>"
            f"<line x1='{mark:.1f}' x2='{mark:.1f}' y1='{top - 4}' y2='{top + _ROW - 8}'><title>chance reaches "
            f"{percent(importance.chance)} in one case of twenty</title></line>"
            f"<text x='{left + max(length, mark - left) + 8:.1f}' y='{top + 16}'>{told}</text>"
        )
    return "".join([*parts, "</svg>"])


def _suggested(candidate: Candidate, parameters: Sequence[SearchedParameter]) -> dict[str, str | int | float]:
    """Parameters of a candidate as Optuna knows them; those that do not apply to it are left out."""
    given: dict[str, str | int | float] = {}
    for parameter in parameters:
        number = parameter.number_of(candidate)
        if parameter.choice_of(candidate) is not None:
            given[parameter.key] = identity(candidate.parameters[parameter.key])
        elif number is not None:
            given[parameter.key] = int(number) if parameter.whole else number
    return given


def _distribution(parameter: SearchedParameter) -> BaseDistribution:
    if parameter.scale is None:
        return CategoricalDistribution([identity(choice) for choice in parameter.choices or ()])
    if parameter.whole:
        return IntDistribution(int(parameter.scale.low), int(parameter.scale.high))
    return FloatDistribution(parameter.scale.low, parameter.scale.high, log=parameter.scale.log)


def _study(tried: Sequence[Candidate], parameters: Sequence[SearchedParameter]) -> optuna.Study:
    """The candidates' parameters as a study, in their order; its values stand for nothing."""
    known = {parameter.key: _distribution(parameter) for parameter in parameters}
    loudness = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(loudness)
    for candidate in tried:
        given = _suggested(candidate, parameters)
        mine = {key: known[key] for key in given}
        study.add_trial(optuna.create_trial(params=given, distributions=mine, value=0.0))
    return study


def _divergences(study: optuna.Study, costs: NDArray[np.float64]) -> dict[str, float]:
    """PED-ANOVA of the study's parameters, were these what its candidates cost."""
    part = min(0.5, max(_BEST_PART, _FEWEST_BEST / len(costs)))
    with warnings.catch_warnings():
        # That few candidates tell little is what the mark of chance says.
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=part)
        return evaluator.evaluate(study, target=lambda trial: float(costs[trial.number]))
