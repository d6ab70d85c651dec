"""Learning curves of a sweep: the metric on validation after each epoch, and how each trial ended."""

from __future__ import annotations

import math
from html import escape

from raycxr.report.scale import Scale, padded, tick_text
from raycxr.report.sweep_results import SweepResults, value_text
from raycxr.report.value_colour import value_class
from raycxr.runs.sweep import Candidate, Trial

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 360, 62, 18, 12, 46

STYLE = """
svg.curves { display: block; width: 100%; min-width: 34rem; max-width: 62rem; }
svg.curves text { font: 12px system-ui, sans-serif; fill: var(--muted); } svg .grid { stroke: #8884; stroke-width: 1; }
.curves path { fill: none; stroke: var(--value); stroke-width: 1.3; opacity: .8; }
.curves .dot { fill: var(--value); } .curves .many path { stroke-width: 1; opacity: .5; }
.curves .cross, .curves .bar, svg.key path { stroke: var(--value); stroke-width: 1.8; opacity: 1; fill: none; }
.curves .winner { --value: var(--best); } .curves g .winner path { stroke-width: 3; opacity: 1; }
.curves a:hover path { stroke-width: 3; opacity: 1; }
svg.key { width: 1.1rem; height: .8rem; margin-right: .3rem; --value: currentColor; }
.keys { font-size: .85rem; color: var(--muted); } .keys > span { margin-right: 1.3rem; white-space: nowrap; }
"""


def learning_curves(results: SweepResults, scale: Scale) -> str:
    """SVG with a line for each trial that has finished an epoch, coloured by its candidate's value.

    Parameters
    ----------
    scale : Scale
        Of the candidates' values, for the colours.
    """
    begun = [(candidate, trial) for candidate in results.candidates for trial in candidate.trials if trial.history]
    points = [value for _, trial in begun for value in trial.curve(results.metric) if math.isfinite(value)]
    heights = _heights(points, results.mode, scale)
    last = max(int(trial.history[-1]["epoch"]) for _, trial in begun)
    epochs = Scale(1, max(last, 2))
    parts = [
        f"<svg class='curves' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' aria-label='Validation metric by epoch'>"
        f"<clipPath id='plot'><rect x='{_LEFT - 7}' y='{_TOP}' width='{_WIDTH - _LEFT - _RIGHT + 14}' "
        f"height='{_HEIGHT - _TOP - _BOTTOM}'/></clipPath>",
        _frame(heights, epochs, results.metric),
        f"<g class='{'many' if len(begun) > 60 else 'few'}' clip-path='url(#plot)'>",
    ]
    place = {candidate.number: order for order, candidate in enumerate(results.ranked)}
    # The best one last, over all others.
    for candidate, trial in sorted(begun, key=lambda item: -place.get(item[0].number, len(place))):
        parts.append(_line(results, candidate, trial, scale, heights, epochs))
    return "".join([*parts, "</g></svg>"])


def cut_edge(results: SweepResults, scale: Scale) -> float | None:
    """Value beyond which the curves are cut off, None where all of them is shown."""
    points = [value for trial in results.trials for value in trial.curve(results.metric) if math.isfinite(value)]
    drawn = _heights(points, results.mode, scale)
    worst = min(points) if results.mode == "max" else max(points)
    return None if drawn.low <= worst <= drawn.high else (drawn.low if results.mode == "max" else drawn.high)


def curve_keys() -> str:
    """What the marks at the ends of the lines mean."""
    bar, cross = "<path d='M11 1V9'/>", "<path d='M7 1l8 8m0-8l-8 8'/>"
    keys = {"stopped early": f"<path d='M0 5H11'/>{bar}", "failed": f"<path d='M0 5H7'/>{cross}"}
    return "".join(
        f"<span><svg class='key' viewBox='0 0 18 10'>{mark}</svg>{told}</span>" for told, mark in keys.items()
    )


def _heights(points: list[float], mode: str, scale: Scale) -> Scale:
    """Scale of the metric over all epochs, without those first ones that would press the others together.

    It reaches beyond the worse end of the candidates' values by their whole range.
    """
    span = scale.high - scale.low
    if mode == "max":
        return padded(Scale(max(min(points), scale.low - span) if span else min(points), max(points)))
    return padded(Scale(min(points), min(max(points), scale.high + span) if span else max(points)))


def _line(
    results: SweepResults, candidate: Candidate, trial: Trial, scale: Scale, heights: Scale, epochs: Scale
) -> str:
    curve = trial.curve(results.metric)
    points = [
        (_x(epochs, float(entry["epoch"])), _y(heights, value)) if math.isfinite(value) else None
        for entry, value in zip(trial.history, curve, strict=True)
    ]
    known = [point for point in points if point is not None]
    if not known:
        return ""
    drawn, broken = "", True
    for point in points:
        # An epoch without a value leaves a gap.
        drawn += "" if point is None else f"{'M' if broken else 'L'}{point[0]:.1f} {point[1]:.1f}"
        broken = point is None
    value = candidate.value(results.metric, results.mode)
    colour = "q0" if value is None else value_class(value, scale, results.mode)
    kind = "winner" if results.is_best(candidate) else colour
    best = trial.value(results.metric, results.mode)
    member = f", {trial.member}" if trial.member else ""
    title = f"{trial.location.name}{member}: best {value_text(best) if best is not None else '-'}, {trial.status}"
    return (
        f"<a href='#c{candidate.number}' class='{kind}'><title>{escape(title)}</title><path d='{drawn}'/>"
        f"{_end(trial.status, known)}</a>"
    )


def _end(status: str, known: list[tuple[float, float]]) -> str:
    """Mark at the last point; one beyond the edge of the plot stands at the edge."""
    x, y = known[-1]
    y = min(max(y, _TOP + 6), _HEIGHT - _BOTTOM - 6)
    if status == "stopped":
        return f"<path class='bar' d='M{x:.1f} {y - 5:.1f}v10'/>"
    if status == "failed":
        return f"<path class='cross' d='M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8'/>"
    # One epoch makes no line.
    return f"<circle class='dot' cx='{x:.1f}' cy='{y:.1f}' r='2.2'/>"


def _frame(heights: Scale, epochs: Scale, metric: str) -> str:
    parts = []
    for tick in heights.ticks(6):
        y = _y(heights, tick)
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text x='{_LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{tick_text(tick)}</text>")
    for tick in epochs.ticks(10):
        if tick == int(tick):
            x = _x(epochs, tick)
            parts.append(f"<text x='{x:.1f}' y='{_HEIGHT - _BOTTOM + 18}' text-anchor='middle'>{int(tick)}</text>")
    middle, beside = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f"<text x='{middle}' y='{_HEIGHT - 8}' text-anchor='middle'>epoch</text>")
    parts.append(
        f"<text x='13' y='{beside}' text-anchor='middle' transform='rotate(-90 13 {beside})'>{escape(metric)} on "
        "validation</text>"
    )
    return "".join(parts)


def _x(epochs: Scale, epoch: float) -> float:
    return _LEFT + epochs.share(epoch) * (_WIDTH - _LEFT - _RIGHT)


def _y(heights: Scale, value: float) -> float:
    """Height of a value; one beyond the scale lies outside, where the plot is cut."""
    share = (value - heights.low) / (heights.high - heights.low)
    return _TOP + (1 - min(max(share, -9), 9)) * (_HEIGHT - _TOP - _BOTTOM)
