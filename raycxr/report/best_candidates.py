"""The best candidate of a sweep beside the runner-up: parameters, value, cost, and where its bundle lies."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape

from raycxr.number_text import duration
from raycxr.report.cost_chart import cost
from raycxr.report.searched_parameter import SearchedParameter, identity
from raycxr.report.sweep_results import (
    SweepResults,
    candidate_name,
    candidate_status,
    value_text,
)
from raycxr.runs.record import BEST
from raycxr.runs.sweep import Candidate, best_trial, parameter_text

STYLE = """
table.best td, table.best th { text-align: left; overflow-wrap: anywhere; min-width: 7rem; max-width: 22rem; }
table.best tr > :first-child { font-weight: 400; min-width: 0; white-space: nowrap; padding-left: 0; }
table.best td.value { font-size: 1.25rem; }
table.best td.value b { color: var(--best); } table.best td.same { color: var(--muted); }
table.best small { color: var(--muted); } table.best td:first-child small { display: inline; }
"""


def best_candidates(results: SweepResults, parameters: Sequence[SearchedParameter]) -> str:
    """HTML of both; the results have a best candidate."""
    shown = results.ranked[:2]
    names = ["best", "runner-up"][: len(shown)]
    heads = "".join(
        f"<th>{name}<small> <a href='#c{candidate.number}'>{escape(candidate_name(candidate))}</a></small></th>"
        for name, candidate in zip(names, shown, strict=True)
    )
    rows = [f"<tr><td>{escape(results.metric)}</td>{''.join(_value(results, candidate) for candidate in shown)}</tr>"]
    for parameter in parameters:
        texts = [_setting(candidate, parameter.key) for candidate in shown]
        same = " class='same'" if len({text for text, _ in texts}) == 1 and len(shown) > 1 else ""
        cells = "".join(f"<td{same}>{escape(text)}</td>" for _, text in texts)
        section, _, name = parameter.key.rpartition(".")
        label = f"<small>{escape(section)}{'.' if section else ''}</small>{escape(name)}"
        rows.append(f"<tr><td>{label}</td>{cells}</tr>")
    rows.append(f"<tr><td>training</td>{''.join(_training(candidate) for candidate in shown)}</tr>")
    return (
        f"<h2>Best candidate</h2><p>{escape(_lead(results))} {_bundle(results)}</p>"
        f"<div class='scroll'><table class='best'><tr><td></td>{heads}</tr>{''.join(rows)}</table></div>"
    )


def _setting(candidate: Candidate, key: str) -> tuple[str, str]:
    """What tells a value from another, and its text."""
    if key not in candidate.parameters:
        return "", "not set"
    return identity(candidate.parameters[key]), parameter_text(candidate.parameters[key])


def _value(results: SweepResults, candidate: Candidate) -> str:
    shown = value_text(results.value(candidate))
    strong = f"<b>{shown}</b>" if results.is_best(candidate) else shown
    low, high = _range(results, candidate)
    members = f"mean of {len(candidate.trials)}, {value_text(low)} to {value_text(high)}"
    return f"<td class='value'>{strong}{f'<small>{members}</small>' if len(candidate.trials) > 1 else ''}</td>"


def _training(candidate: Candidate) -> str:
    epochs, planned = candidate.trials[0].epochs, candidate.trials[0].epochs_planned
    each = "" if len(candidate.trials) == 1 else " for each trial"
    shown = f"{epochs} of {planned} epochs, {duration(cost(candidate))}{each}"
    return f"<td>{shown}<small>{candidate_status(candidate)}</small></td>"


def _range(results: SweepResults, candidate: Candidate) -> tuple[float, float]:
    values = [trial.value(results.metric, results.mode) for trial in candidate.trials]
    known = [value for value in values if value is not None]
    return min(known), max(known)


def _lead(results: SweepResults) -> str:
    """How far the best is ahead, measured by how much its own trials differ where there are several."""
    if len(results.ranked) == 1:
        return "It is the only candidate with a value so far."
    best, second = results.ranked[:2]
    lead = abs(results.value(best) - results.value(second))
    if lead == 0:
        return "The runner-up has the same value."
    told = f"It is {lead:.2g} ahead of the runner-up"
    low, high = _range(results, best)
    if len(best.trials) > 1:
        compared = "less" if lead < high - low else "more"
        told += f", which is {compared} than its own trials differ ({high - low:.2g})"
    return f"{told}."


def _bundle(results: SweepResults) -> str:
    assert results.best is not None
    trial = best_trial(results.best, results.metric, results.mode)
    if results.bundle is None:
        return f"There is no bundle in <code>{escape((trial.location / BEST).uri)}</code>."
    which = "Its bundle" if len(results.best.trials) == 1 else f"The bundle of its best trial ({trial.member})"
    pull = f"raycxr pull {shlex.quote(trial.location.uri)} DEST"
    return f"{escape(which)} is <code>{escape(results.bundle.uri)}</code>, brought by <code>{escape(pull)}</code>."
