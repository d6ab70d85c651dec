"""Parallel coordinates: an axis for each parameter and one for the metric, and across them a line per candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from raycxr.report.scale import Scale, metric_scale, padded, tick_text
from raycxr.report.searched_parameter import SearchedParameter, cut, setting
from raycxr.report.sweep_results import SweepResults, candidate_name, candidate_status, value_text
from raycxr.report.value_colour import value_class
from raycxr.runs.sweep import Candidate, parameter_text

_TOP, _HEIGHT, _FOOT = 46, 300, 34
_LETTER, _GAP = 6.4, 46
# Few axes stand farther apart, so that the lines between them are not steep.
_LEAST, _LEAST_WIDTH = 104, 860
# Lines of one choice lie side by side over this part of the room that the choice has, so that they can be followed.
_BAND = 0.56
_MOST_LABELS = 14

STYLE = """
svg.parallel { display: block; width: 100%; } svg.parallel text { font: 12px system-ui, sans-serif; }
.parallel .axis { stroke: #8888; stroke-width: 1.2; } .parallel .band { stroke: #8885; stroke-width: 5;
  stroke-linecap: round; }
.parallel .tick { fill: var(--muted); paint-order: stroke; stroke: Canvas; stroke-width: 4px; pointer-events: none; }
.parallel .name { fill: currentColor; font-weight: 600; } .parallel .part { fill: var(--muted); }
.parallel .line { fill: none; stroke: var(--value); stroke-width: 1.8; opacity: .85; }
.parallel .early { stroke-width: .9; } .parallel .end { fill: var(--value); }
.parallel .many .line { stroke-width: 1.2; opacity: .6; } .parallel .many .early { stroke-width: .7; }
.parallel .winner { --value: var(--best); } .parallel g .winner .line { stroke-width: 4; opacity: 1; }
.parallel a:hover .line, .parallel a:focus .line { stroke-width: 4; opacity: 1; }
"""


@dataclass(frozen=True)
class _Axis:
    """Where the axis of a parameter stands, and at which heights its labels and each candidate's line."""

    parameter: SearchedParameter
    x: float
    labels: list[tuple[float, str]]
    bands: list[tuple[float, float]]
    heights: dict[int, float]


def parallel_coordinates(results: SweepResults, parameters: Sequence[SearchedParameter]) -> str:
    """SVG over all candidates that have a value; lines of those stopped early are thin, the best one's is thick."""
    values = [results.value(candidate) for candidate in results.ranked]
    scale = metric_scale(values, results.mode)
    axes = _axes(parameters, results.ranked)
    right = axes[-1].x + max(120, _LEAST_WIDTH / (len(axes) + 1.5)) if axes else 120
    width = right + max(70, _LETTER * len(results.metric) / 1.7 + 8)
    parts = [
        f"<svg class='parallel' viewBox='0 0 {width:.0f} {_TOP + _HEIGHT + _FOOT}' role='img' "
        f"style='min-width: {0.9 * width:.0f}px; max-width: {1.15 * width:.0f}px' "
        "aria-label='Parameters and value of each candidate'>"
    ]
    parts += [_frame(axis) for axis in axes]
    keys = [parameter.key for parameter in parameters]
    lines = []
    # The best one last, over all others.
    for candidate, value in reversed(list(zip(results.ranked, values, strict=True))):
        points = [(axis.x, axis.heights[candidate.number]) for axis in axes]
        points.append((right, _y(padded(scale).share(value))))
        early = " early" if candidate_status(candidate) == "stopped" else ""
        colour = "winner" if results.is_best(candidate) else value_class(value, scale, results.mode)
        title = f"{candidate_name(candidate)}: {value_text(value)}{' (stopped early)' if early else ''}; "
        lines.append(
            f"<a href='#c{candidate.number}' class='{colour}'><title>"
            f"{escape(title + setting(candidate.parameters, keys))}</title>"
            f"<path class='line{early}' d='{_curve(points)}'/>"
            f"<circle class='end' cx='{right:.0f}' cy='{points[-1][1]:.1f}' r='{2.2 if early else 3.4}'/></a>"
        )
    parts.append(f"<g class='{'many' if len(values) > 60 else 'few'}'>{''.join(lines)}</g>")
    parts += [_labels(axis) for axis in axes]
    parts.append(_metric_axis(results, scale, right, min(values) < scale.low or max(values) > scale.high))
    return "".join([*parts, "</svg>"])


def _axes(parameters: Sequence[SearchedParameter], ranked: Sequence[Candidate]) -> list[_Axis]:
    """Lay the axes out from left to right, with room for the labels left of each."""
    axes: list[_Axis] = []
    for parameter in parameters:
        missing = any(not parameter.applies(candidate) for candidate in ranked)
        # Candidates without the parameter pass below its axis.
        floor = 0.14 if missing else 0.0
        if parameter.choices is not None:
            labels, bands, heights = _choice_heights(parameter, ranked, floor)
        else:
            labels, bands, heights = _range_heights(parameter, ranked, floor)
        if missing:
            labels.append((_y(floor / 4), "not set"))
        widest = max([len(text) for _, text in labels] + [len(parameter.key.rpartition(".")[0])])
        room = max(_LEAST, _LEAST_WIDTH / (len(parameters) + 1.5), _LETTER * widest + _GAP)
        # Left of the first axis there is only its text.
        x = axes[-1].x + room if axes else max(_LEAST, _LETTER * widest + _GAP) - 14
        axes.append(_Axis(parameter, x, labels, bands, heights))
    return axes


def _choice_heights(
    parameter: SearchedParameter, ranked: Sequence[Candidate], floor: float
) -> tuple[list[tuple[float, str]], list[tuple[float, float]], dict[int, float]]:
    choices = parameter.choices or ()
    room = (1 - floor) / max(len(choices), 1)
    labels, bands, heights = [], [], _heights_without(parameter, ranked, floor)
    every = -(-len(choices) // _MOST_LABELS)
    for place, choice in enumerate(choices):
        middle = 1 - room * (place + 0.5)
        inside = [candidate for candidate in ranked if parameter.choice_of(candidate) == place]
        reach = _BAND * room if len(inside) > 1 else 0.0
        for order, candidate in enumerate(inside):
            heights[candidate.number] = _y(middle + reach * (0.5 - order / max(len(inside) - 1, 1)))
        bands.append((_y(middle + reach / 2), _y(middle - reach / 2)))
        if place % every == 0:
            labels.append((_y(middle), cut(parameter_text(choice))))
    return labels, bands, heights


def _range_heights(
    parameter: SearchedParameter, ranked: Sequence[Candidate], floor: float
) -> tuple[list[tuple[float, str]], list[tuple[float, float]], dict[int, float]]:
    assert parameter.scale is not None
    scale = parameter.scale

    def height(number: float) -> float:
        return _y(floor + (1 - floor) * scale.share(number))

    heights = _heights_without(parameter, ranked, floor)
    for candidate in ranked:
        number = parameter.number_of(candidate)
        if number is not None:
            heights[candidate.number] = height(number)
    return [(height(tick), tick_text(tick)) for tick in scale.ticks(6)], [(_y(1), _y(floor))], heights


def _heights_without(parameter: SearchedParameter, ranked: Sequence[Candidate], floor: float) -> dict[int, float]:
    """Heights of the candidates without the parameter, side by side below its axis."""
    missing = [candidate for candidate in ranked if not parameter.applies(candidate)]
    steps = max(len(missing) - 1, 1)
    return {candidate.number: _y(floor / 2 * (1 - order / steps)) for order, candidate in enumerate(missing)}


def _frame(axis: _Axis) -> str:
    """The axis itself and its name, below the lines."""
    section, _, name = axis.parameter.key.rpartition(".")
    bands = "".join(
        f"<line class='{'axis' if axis.parameter.choices is None else 'band'}' x1='{axis.x:.1f}' x2='{axis.x:.1f}' "
        f"y1='{top - 0.1:.1f}' y2='{bottom + 0.1:.1f}'/>"
        for top, bottom in axis.bands
    )
    return (
        f"{bands}<text class='part' x='{axis.x:.1f}' y='14' text-anchor='middle'>{escape(section)}</text>"
        f"<text class='name' x='{axis.x:.1f}' y='29' text-anchor='middle'>{escape(name)}</text>"
    )


def _labels(axis: _Axis) -> str:
    return "".join(
        f"<text class='tick' x='{axis.x - 8:.1f}' y='{y + 4:.1f}' text-anchor='end'>{escape(text)}</text>"
        for y, text in axis.labels
    )


def _metric_axis(results: SweepResults, scale: Scale, x: float, beyond: bool) -> str:
    drawn = padded(scale)
    worse = scale.low if results.mode == "max" else scale.high
    ticks = "".join(
        f"<text class='tick' x='{x + 9:.0f}' y='{_y(drawn.share(tick)) + 4:.1f}'>{tick_text(tick)}</text>"
        for tick in scale.ticks(6)
    )
    better = "higher" if results.mode == "max" else "lower"
    foot = f"{value_text(worse)} or worse at the end" if beyond else f"{better} is better"
    return (
        f"<line class='axis' x1='{x:.0f}' x2='{x:.0f}' y1='{_y(1)}' y2='{_y(0)}'/>{ticks}"
        f"<text class='name' x='{x:.0f}' y='29' text-anchor='middle'>{escape(results.metric)}</text>"
        f"<text class='part' x='{x + 62:.0f}' y='{_TOP + _HEIGHT + 26}' text-anchor='end'>{foot}</text>"
    )


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """A line that leaves and meets each axis level, so that the eye can follow it across."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x, y), (next_x, next_y) in pairwise(points):
        middle = (x + next_x) / 2
        parts.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {next_y:.1f} {next_x:.1f} {next_y:.1f}")
    return "".join(parts)


def _y(share: float) -> float:
    return _TOP + (1 - share) * _HEIGHT
