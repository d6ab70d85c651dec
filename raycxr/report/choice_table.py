"""Table of two parameters that are chosen among some values, as architecture and loss: best value of each pair."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from raycxr.number_text import count
from raycxr.report.parameter_importance import Importance
from raycxr.report.scale import Scale
from raycxr.report.searched_parameter import SearchedParameter, cut
from raycxr.report.sweep_results import SweepResults, value_text
from raycxr.report.value_colour import value_class
from raycxr.runs.sweep import Candidate, parameter_text

FIRST_CHOICE = ("model.name", "loss")
# Above this many values a table has no use.
_MOST = 30

STYLE = """
table.choices td { background: color-mix(in srgb, var(--value, transparent) var(--strength, 0%), transparent);
  text-align: center; min-width: 6.5rem; border: 2px solid Canvas; border-radius: 6px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
table.choices td small { color: inherit; opacity: .72; }
table.choices th { vertical-align: middle; text-align: center; overflow-wrap: anywhere; max-width: 12rem; }
table.choices tr > th:first-child { text-align: left; white-space: nowrap; }
table.choices td.none { color: var(--muted); border-style: dashed; border-color: #8883; border-width: 1px; }
table.choices td.top { outline: 2px solid var(--best); outline-offset: -3px; font-weight: 600; }
"""


def telling_choices(
    parameters: Sequence[SearchedParameter], importances: Sequence[Importance]
) -> list[SearchedParameter]:
    """Architecture and loss where both are searched, else the two parameters with choices that matter most."""
    with_choices = [
        parameter for parameter in parameters if parameter.choices is not None and 1 < len(parameter.choices) <= _MOST
    ]
    first = [parameter for key in FIRST_CHOICE for parameter in with_choices if parameter.key == key]
    if len(first) == len(FIRST_CHOICE):
        return first
    order = {importance.key: place for place, importance in enumerate(importances)}
    return sorted(with_choices, key=lambda parameter: order.get(parameter.key, len(order)))[:2]


def choice_table(
    results: SweepResults, rows: SearchedParameter, columns: SearchedParameter | None, scale: Scale
) -> str:
    """HTML table with best value and count of the candidates of each pair, or of each row where there is one parameter.

    Parameters
    ----------
    scale : Scale
        Of the candidates' values, for the colours.
    """
    tops: Sequence[int | None] = [None] if columns is None else _places(columns, results.candidates)
    heads = "<th>best</th>" if columns is None else "".join(_head(columns, place) for place in tops)
    over = "" if columns is None else f"<tr><th></th><th colspan='{len(tops)}'>{escape(columns.key)}</th></tr>"
    lines = [f"{over}<tr><th>{escape(rows.key)}</th>{heads}</tr>"]
    for place in _places(rows, results.candidates):
        cells = ""
        for top in tops:
            inside = [
                candidate
                for candidate in results.candidates
                if rows.choice_of(candidate) == place and (columns is None or columns.choice_of(candidate) == top)
            ]
            cells += _cell(results, inside, scale)
        lines.append(f"<tr>{_head(rows, place)}{cells}</tr>")
    return f"<div class='scroll'><table class='choices'>{''.join(lines)}</table></div>"


def _places(parameter: SearchedParameter, tried: Sequence[Candidate]) -> list[int | None]:
    """Places of all choices, and None after them where the parameter does not apply to some candidates."""
    missing: list[int | None] = [None] if any(parameter.choice_of(candidate) is None for candidate in tried) else []
    return [*range(len(parameter.choices or ())), *missing]


def _head(parameter: SearchedParameter, place: int | None) -> str:
    if place is None:
        return "<th>not set</th>"
    text = parameter_text((parameter.choices or ())[place])
    return f"<th title='{escape(text)}'>{escape(cut(text))}</th>"


def _cell(results: SweepResults, inside: Sequence[Candidate], scale: Scale) -> str:
    numbers = {candidate.number for candidate in inside}
    best = next((candidate for candidate in results.ranked if candidate.number in numbers), None)
    if not inside:
        return "<td class='none'>not tried</td>"
    tried = count(len(inside), "candidate")
    if best is None:
        return f"<td class='none'>no value<small>{tried}</small></td>"
    value = results.value(best)
    step = value_class(value, scale, results.mode)
    top = " top" if results.is_best(best) else ""
    strength = f"--strength: {10 + 5 * int(step[1:])}%"
    return f"<td class='{step}{top}' style='{strength}'>{value_text(value)}<small>{tried}</small></td>"
