"""Cost against quality: seconds of training and value of each candidate, and those that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from raycxr.number_text import duration
from raycxr.report.scale import Scale, metric_scale, padded, spread_scale, tick_text
from raycxr.report.searched_parameter import setting
from raycxr.report.sweep_results import SweepResults, candidate_name, candidate_status, value_text
from raycxr.runs.metric import is_better
from raycxr.runs.sweep import Candidate

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 340, 62, 24, 18, 46
# Times that people count in, in seconds.
_TIMES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 86400, 172800, 432000)

STYLE = """
svg.cost { display: block; width: 100%; min-width: 34rem; max-width: 62rem; }
svg.cost text { font: 12px system-ui, sans-serif; fill: var(--muted); }
.cost circle { fill: #8888; } .cost .early { fill: none; stroke: #888b; stroke-width: 1.2; }
.cost .front { fill: #0072b2; } .cost .winner { fill: var(--best); } .cost .steps-line { fill: none; stroke: #0072b2;
  stroke-width: 1.2; stroke-dasharray: 5 4; }
.cost text.number { fill: currentColor; font-weight: 600; paint-order: stroke; stroke: Canvas; stroke-width: 4px; }
@media (prefers-color-scheme: dark) { .cost .front { fill: #56b4e9; } .cost .steps-line { stroke: #56b4e9; } }
"""


def cost(candidate: Candidate) -> float:
    """Seconds of training of one trial of a candidate, the mean over its trials."""
    return sum(trial.seconds for trial in candidate.trials) / len(candidate.trials)


def pareto_front(results: SweepResults) -> list[Candidate]:
    """Candidates trained to their end to which no other is better without taking longer, the cheapest first.

    Those that were stopped early are left out: how long they took was not theirs to say.
    """
    front: list[Candidate] = []
    finished = [candidate for candidate in results.ranked if candidate_status(candidate) == "finished"]
    # `ranked` has the better first, so that of equally long ones the better is met first.
    for candidate in sorted(finished, key=cost):
        if not front or is_better(results.value(candidate), results.value(front[-1]), results.mode):
            front.append(candidate)
    return front


def cost_chart(results: SweepResults, front: Sequence[Candidate], keys: Sequence[str]) -> str:
    """SVG with a point for each candidate that has a value; those of the front bear their numbers in its table."""
    costs = padded(spread_scale([cost(candidate) for candidate in results.ranked]))
    heights = padded(metric_scale([results.value(candidate) for candidate in results.ranked], results.mode))
    numbers = {candidate.number: order for order, candidate in enumerate(front, 1)}
    parts = [
        f"<svg class='cost' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='Seconds of training and value'>",
        _frame(costs, heights, results.metric),
    ]
    if len(front) > 1:
        places = [_point(results, candidate, costs, heights) for candidate in front]
        # Up to the next one nothing better is to be had for the time.
        steps = "".join(f"H{x:.1f}V{y:.1f}" for x, y in places[1:])
        parts.append(f"<path class='steps-line' d='M{places[0][0]:.1f} {places[0][1]:.1f}{steps}'/>")
    for candidate in reversed(results.ranked):
        x, y = _point(results, candidate, costs, heights)
        status = candidate_status(candidate)
        kind, radius = ("early", 3.2) if status != "finished" else ("", 4)
        if candidate.number in numbers:
            kind, radius = "front", 5
        if results.is_best(candidate):
            kind, radius = "winner", 6.5
        told = f"{candidate_name(candidate)}: {value_text(results.value(candidate))} after {duration(cost(candidate))}"
        title = escape(f"{told}, {status}; {setting(candidate.parameters, keys)}")
        parts.append(
            f"<a href='#c{candidate.number}'><title>{title}</title>"
            f"<circle class='{kind}' cx='{x:.1f}' cy='{y:.1f}' r='{radius}'/></a>"
        )
    for candidate in front:
        x, y = _point(results, candidate, costs, heights)
        parts.append(
            f"<text class='number' x='{x - 7:.1f}' y='{y - 7:.1f}' text-anchor='end'>{numbers[candidate.number]}</text>"
        )
    return "".join([*parts, "</svg>"])


def _frame(costs: Scale, heights: Scale, metric: str) -> str:
    parts = []
    for tick in heights.ticks(6):
        y = _y(heights, tick)
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text x='{_LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{tick_text(tick)}</text>")
    for tick in _time_ticks(costs, 7):
        x = _x(costs, tick)
        parts.append(f"<line class='grid' x1='{x:.1f}' x2='{x:.1f}' y1='{_TOP}' y2='{_HEIGHT - _BOTTOM}'/>")
        parts.append(
            f"<text x='{x:.1f}' y='{_HEIGHT - _BOTTOM + 18}' text-anchor='middle'>{escape(duration(tick))}</text>"
        )
    middle, beside = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f"<text x='{middle}' y='{_HEIGHT - 8}' text-anchor='middle'>time of training</text>")
    parts.append(
        f"<text x='13' y='{beside}' text-anchor='middle' transform='rotate(-90 13 {beside})'>{escape(metric)}</text>"
    )
    return "".join(parts)


def _time_ticks(costs: Scale, most: int) -> list[float]:
    """Round times on the scale; below seconds and beyond days any round numbers."""
    if costs.log:
        inside = [float(time) for time in _TIMES if costs.low <= time <= costs.high]
        return inside[:: -(-len(inside) // most)] if len(inside) > 1 else costs.ticks(most)
    step = next((time for time in _TIMES if time * most >= costs.high - costs.low), None)
    if step is None or costs.high < 5:
        return costs.ticks(most)
    return [float(number * step) for number in range(math.ceil(costs.low / step), int(costs.high // step) + 1)]


def _point(results: SweepResults, candidate: Candidate, costs: Scale, heights: Scale) -> tuple[float, float]:
    return _x(costs, cost(candidate)), _y(heights, results.value(candidate))


def _x(costs: Scale, seconds: float) -> float:
    return _LEFT + costs.share(seconds) * (_WIDTH - _LEFT - _RIGHT)


def _y(heights: Scale, value: float) -> float:
    return _TOP + (1 - heights.share(value)) * (_HEIGHT - _TOP - _BOTTOM)
