"""Table of all trials of a sweep, best first, with the reason of those that failed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from raycxr.number_text import count, duration
from raycxr.report.scale import Scale
from raycxr.report.searched_parameter import SearchedParameter, heading
from raycxr.report.sweep_results import (
    SweepResults,
    candidate_name,
    candidate_status,
    value_text,
)
from raycxr.report.value_colour import value_class
from raycxr.runs.sweep import Candidate, Trial, parameter_text

STYLE = """
table.trials td, table.trials th { white-space: nowrap; vertical-align: top; padding: .3rem .6rem; }
table.trials { font-size: .92rem; }
table.trials td.value { font-weight: 600; } table.trials td.left, table.trials th.left { text-align: left; }
table.trials td.text { white-space: normal; overflow-wrap: anywhere; min-width: 5rem; max-width: 16rem; }
table.trials td.left small { white-space: normal; overflow-wrap: anywhere; min-width: 12rem; max-width: 26rem; }
table.trials td.uncounted { color: var(--muted); font-weight: 400; }
table.trials tr.member td { color: var(--muted); border-bottom-style: dotted; }
table.trials tr.member td:first-child { padding-left: 2rem; } table.trials tr.member td.value { font-weight: 400; }
table.trials tbody:target, table.trials tbody:hover { background: #8882; }
table.trials tbody.winner td:first-child { box-shadow: inset 3px 0 var(--best); }
th small { font-weight: 400; color: var(--muted); display: block; } table.trials td .swatch { margin-right: .6em; }
"""


def trial_table(results: SweepResults, parameters: Sequence[SearchedParameter], scale: Scale | None) -> str:
    """HTML table: a group of rows for each candidate, and of one with several trials a row for each of them.

    Parameters
    ----------
    scale : Scale or None
        Of the candidates' values, for the colours; None where there is no value.
    """
    heads = "".join(f"<th>{heading(parameter.key)}</th>" for parameter in parameters)
    order = [*results.ranked, *results.unranked]
    groups = "".join(_group(results, candidate, parameters, scale) for candidate in order)
    return (
        "<div class='scroll'><table class='trials'><thead><tr><th>trial</th>"
        f"<th>{escape(results.metric)}</th>{heads}<th>epochs</th><th>time</th><th class='left'>status</th></tr></thead>"
        f"{groups}</table></div>"
    )


def _group(
    results: SweepResults, candidate: Candidate, parameters: Sequence[SearchedParameter], scale: Scale | None
) -> str:
    value = candidate.value(results.metric, results.mode)
    swatch = "" if value is None or scale is None else _swatch(results, candidate, value, scale)
    cells = "".join(_parameter(candidate, parameter) for parameter in parameters)
    only = candidate.trials[0] if len(candidate.trials) == 1 else None
    name = escape(candidate_name(candidate))
    shown = "-" if value is None else value_text(value)
    counted = "value" if value is not None else "uncounted"
    if only is not None:
        rows = (
            f"<tr><td>{swatch}{name}</td><td class='{counted}'>{_value(results, only)}</td>{cells}"
            f"<td>{_epochs(only)}</td><td>{duration(only.seconds)}</td>{_status(only)}</tr>"
        )
    else:
        trained = sum(trial.epochs for trial in candidate.trials)
        seconds = sum(trial.seconds for trial in candidate.trials)
        rows = (
            f"<tr><td>{swatch}{name}</td><td class='value'>{shown}</td>{cells}<td>{trained}</td>"
            f"<td>{duration(seconds)}</td><td class='left'>{count(len(candidate.trials), 'trial')}, "
            f"{candidate_status(candidate)}</td></tr>"
        )
        rows += "".join(_member(results, trial, len(parameters)) for trial in candidate.trials)
    best = " class='winner'" if results.is_best(candidate) else ""
    return f"<tbody id='c{candidate.number}'{best}>{rows}</tbody>"


def _member(results: SweepResults, trial: Trial, parameters: int) -> str:
    name = f"{escape(trial.member or '')} <small>{escape(trial.location.name)}</small>"
    return (
        f"<tr class='member'><td>{name}</td><td class='value'>{_value(results, trial)}</td>"
        f"{'<td></td>' * parameters}<td>{_epochs(trial)}</td><td>{duration(trial.seconds)}</td>"
        f"{_status(trial)}</tr>"
    )


def _swatch(results: SweepResults, candidate: Candidate, value: float, scale: Scale) -> str:
    step = value_class(value, scale, results.mode)
    colour = " style='--value: var(--best)'" if results.is_best(candidate) else ""
    return f"<i class='swatch {step}'{colour}></i>"


def _value(results: SweepResults, trial: Trial) -> str:
    value = trial.value(results.metric, results.mode)
    return "-" if value is None else value_text(value)


def _parameter(candidate: Candidate, parameter: SearchedParameter) -> str:
    if parameter.key not in candidate.parameters:
        return "<td class='none'></td>"
    text = parameter_text(candidate.parameters[parameter.key])
    return f"<td{' class=text' if len(text) > 24 else ''}>{escape(text)}</td>"


def _epochs(trial: Trial) -> str:
    return f"{trial.epochs} of {trial.epochs_planned}"


def _status(trial: Trial) -> str:
    reason = f"<small>{escape(trial.reason)}</small>" if trial.reason else ""
    return f"<td class='left'>{escape(trial.status)}{reason}</td>"
