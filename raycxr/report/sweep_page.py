"""The page of `raycxr report` about a sweep: what won, what decided it, what it cost, and every trial."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from raycxr.html_document import html_document
from raycxr.number_text import count, duration, percent_of
from raycxr.report import (
    choice_table,
    cost_chart,
    learning_curves,
    parallel_coordinates,
    parameter_importance,
    trial_table,
    value_colour,
)
from raycxr.report.best_candidates import STYLE as BEST_STYLE
from raycxr.report.best_candidates import best_candidates
from raycxr.report.parameter_importance import FEWEST, Importance, settled, varied
from raycxr.report.scale import Scale, metric_scale
from raycxr.report.searched_parameter import SearchedParameter, searched_parameters, setting
from raycxr.report.sweep_results import (
    SweepResults,
    candidate_name,
    value_text,
)

# The page's own last: what it says of phones and paper holds for all of its parts.
STYLE = (
    value_colour.STYLE
    + BEST_STYLE
    + parallel_coordinates.STYLE
    + parameter_importance.STYLE
    + choice_table.STYLE
    + learning_curves.STYLE
    + cost_chart.STYLE
    + trial_table.STYLE
    + """
body { max-width: 84rem; overflow-wrap: break-word; } th { font-weight: 600; vertical-align: bottom; }
h2 { margin-top: 2.4rem; } code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
.cards { display: flex; flex-wrap: wrap; gap: .7rem; margin: 1.2rem 0; }
.cards div { border: 1px solid #8884; border-radius: 8px; padding: .6rem 1.1rem; min-width: 6.5rem; }
.cards b { display: block; font-size: 1.55rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.cards span, .cards small { color: var(--muted); font-size: .85rem; display: block; }
p.about { max-width: 60rem; } .scroll { max-width: 100%; }
table.front .left { text-align: left; } table.front td:not(.left) { white-space: nowrap; }
@media (max-width: 40rem) { th, td, table.trials td, table.trials th { padding: .3rem .4rem; }
  .steps i { width: .8rem; } .cards { gap: .5rem; } .cards div { padding: .4rem .7rem; min-width: 5rem; }
  .cards b { font-size: 1.3rem; } table.best td, table.best th { min-width: 5rem; } }
@media print { body { max-width: none; margin: 0; font-size: 11px; } .scroll { overflow: visible; }
  svg { min-width: 0 !important; max-width: 100% !important; } h2 { break-after: avoid; font-size: 15px; }
  svg, tr, .cards div { break-inside: avoid; } .cards b { font-size: 18px; }
  .cards span, .cards small, .keys { font-size: 10px; } table.best td.value { font-size: 15px; }
  table.trials { font-size: 9px; } table.trials td, table.trials th { padding: .15rem .3rem; } }
"""
)


def sweep_page(results: SweepResults) -> str:
    """Return the whole page as HTML; nothing is fetched for it."""
    parameters = searched_parameters(results.record["space"], results.candidates)
    body = [_head(results), _cards(results)]
    scale = None
    if results.ranked:
        scale = metric_scale([results.value(candidate) for candidate in results.ranked], results.mode)
        importances = parameter_importance.parameter_importance(results, parameters)
        body += [
            best_candidates(results, parameters),
            _parallel(results, parameters, scale),
            _importance(results, parameters, importances),
            _choices(results, parameters, importances, scale),
            _curves(results, scale),
            _cost(results, parameters, scale),
        ]
    else:
        body.append(f"<p>{_nothing_yet(results)}</p>")
    if results.trials:
        told = count(len(results.candidates), "candidate") + ", the best first."
        if results.unranked:
            told += " Those without a colour at the end do not count: they failed, or have no value yet."
        body.append(f"<h2>All trials</h2><p class='about'>{told}</p>")
        body.append(trial_table.trial_table(results, parameters, scale))
    return html_document(f"{results.record['sweep']}: sweep", "\n".join(filter(None, body)), STYLE)


def _head(results: SweepResults) -> str:
    tune, record = results.tune, results.record
    better = "the highest" if results.mode == "max" else "the lowest"
    told = [f"{better} {results.metric} on validation wins"]
    told += [f"{name} {tune[name]}" for name in ("searcher", "scheduler") if tune.get(name) is not None]
    told.append(results.location.uri)
    return (
        f"<h1>{escape(str(record['sweep']))}</h1>"
        f"<p class='about'>sweep, {escape(str(record['status']))}; {escape('; '.join(told))}</p>"
    )


def _cards(results: SweepResults) -> str:
    trials, asked = results.trials, results.tune.get("trials")
    states = [f"{results.count(status)} {status}" for status in
              ("finished", "stopped", "failed", "interrupted", "running") if results.count(status)]  # fmt: skip
    trained, planned = sum(trial.epochs for trial in trials), sum(trial.epochs_planned for trial in trials)
    saved = sum(trial.epochs_planned - trial.epochs for trial in trials if trial.status == "stopped")
    seconds, passed = sum(trial.seconds for trial in trials), results.seconds_passed
    begun = len(results.candidates)
    cards = [(str(begun), "candidate" if begun == 1 else "candidates", f"of {asked}" if asked else "")]
    cards.append((str(len(trials)), "trial" if len(trials) == 1 else "trials", ", ".join(states)))
    cards.append((f"{trained:,}", "epochs trained", f"of {planned:,} planned"))
    if saved:
        cards.append((percent_of(saved, planned), "of the epochs saved", f"{saved:,} by stopping early"))
    cards.append((duration(seconds), "of training", "" if passed is None else f"within {duration(passed)}"))
    shown = "".join(
        f"<div><b>{number}</b><span>{name}</span><small>{escape(about)}</small></div>" for number, name, about in cards
    )
    return f"<div class='cards'>{shown}</div>"


def _nothing_yet(results: SweepResults) -> str:
    if not results.trials:
        return "No trial has begun yet."
    running = [trial.location.name for trial in results.trials if trial.status == "running"]
    if running:
        return f"No candidate has a value yet. Running: {escape(', '.join(running))}."
    if results.count("failed") == len(results.trials):
        return "All trials failed; the table tells why."
    return f"No candidate has a value of {escape(results.metric)}."


def _parallel(results: SweepResults, parameters: Sequence[SearchedParameter], scale: Scale) -> str:
    legend = value_colour.value_legend(scale, results.mode, _is_beyond(results, scale))
    left_out = len(results.unranked)
    told = "Each line is a candidate, the thick one the best; thin ones were stopped early. "
    told += f"{count(left_out, 'candidate')} without a value not shown. " if left_out else ""
    return (
        f"<h2>Parameters and value</h2><p class='about'>{told}Colour: {legend}</p>"
        f"<div class='scroll'>{parallel_coordinates.parallel_coordinates(results, parameters)}</div>"
    )


def _importance(
    results: SweepResults, parameters: Sequence[SearchedParameter], importances: Sequence[Importance]
) -> str:
    heading = "<h2>Which parameters decide</h2>"
    known = settled(results)
    if len(known) < FEWEST:
        has = f"{count(len(known), 'candidate')} {'has' if len(known) == 1 else 'have'}"
        return f"{heading}<p>{has} a final value; with fewer than {FEWEST} nothing can be said.</p>"
    if not importances:
        return f"{heading}<p>Too many candidates have the same value, or the same parameters, to tell what decides.</p>"
    alike = [parameter.key for parameter in parameters if parameter not in varied(known, parameters)]
    once = f" Only one value was tried of {escape(', '.join(alike))}." if alike else ""
    weak = "" if any(importance.is_telling for importance in importances) else (
        " Here none of them is told from chance: more candidates would be needed."
    )  # fmt: skip
    return (
        f"{heading}<p class='about'>How differently the best of {len(known)} candidates lie in a parameter than all of "
        "them, as its part of the whole (PED-ANOVA). The upright line is what chance reaches in one case of twenty: "
        f"a grey bar says nothing. Candidates stopped early count with their best value.{once}{weak}</p>"
        f"<div class='scroll'>{parameter_importance.importance_chart(importances)}</div>"
    )


def _choices(
    results: SweepResults, parameters: Sequence[SearchedParameter], importances: Sequence[Importance], scale: Scale
) -> str:
    chosen = choice_table.telling_choices(parameters, importances)
    if not chosen:
        return ""
    rows, columns = chosen[0], chosen[1] if len(chosen) > 1 else None
    # The longer list of values runs down the page.
    if columns is not None and len(columns.choices or ()) > len(rows.choices or ()):
        rows, columns = columns, rows
    names = " and ".join(escape(parameter.key) for parameter in chosen)
    return (
        f"<h2>Best value by {names}</h2><p class='about'>Over all other parameters; the framed one is the best of all."
        f"</p>{choice_table.choice_table(results, rows, columns, scale)}"
    )


def _curves(results: SweepResults, scale: Scale) -> str:
    edge = learning_curves.cut_edge(results, scale)
    worse = "below" if results.mode == "max" else "above"
    cut = (
        ""
        if edge is None
        else (f"Values {worse} {value_text(edge)} are cut off; a trial that ended there has its mark at the edge.")
    )
    return (
        f"<h2>Learning curves</h2><p class='about'>Each line is a trial, the thick one of the best candidate. {cut}</p>"
        f"<div class='scroll'>{learning_curves.learning_curves(results, scale)}</div>"
        f"<p class='keys'>{learning_curves.curve_keys()}</p>"
    )


def _cost(results: SweepResults, parameters: Sequence[SearchedParameter], scale: Scale) -> str:
    keys = [parameter.key for parameter in parameters]
    front = cost_chart.pareto_front(results)
    told = "Time of one trial, with validation. Hollow points are not trained to their end, and not on the front."
    if _is_beyond(results, scale):
        told += f" Those of {value_text(_worse(results, scale))} or worse stand at the edge."
    rows = "".join(
        f"<tr><td>{number}</td><td class='left'><a href='#c{candidate.number}'>{escape(candidate_name(candidate))}</a>"
        f"<small>{escape(setting(candidate.parameters, keys))}</small></td>"
        f"<td>{duration(cost_chart.cost(candidate))}</td><td>{value_text(results.value(candidate))}</td></tr>"
        for number, candidate in enumerate(front, 1)
    )
    table = (
        "<p>To none of these is another one better without taking longer (Pareto front):</p><div class='scroll'>"
        f"<table class='front'><tr><th></th><th class='left'>candidate</th><th>time</th>"
        f"<th>{escape(results.metric)}</th></tr>{rows}</table></div>"
    )
    if not front:
        table = "<p>No candidate is trained to its end yet, so that none is on the front.</p>"
    return (
        f"<h2>Cost and quality</h2><p class='about'>{told}</p>"
        f"<div class='scroll'>{cost_chart.cost_chart(results, front, keys)}</div>{table}"
    )


def _is_beyond(results: SweepResults, scale: Scale) -> bool:
    """Whether some candidates did worse than the scale reaches."""
    return not scale.low <= results.value(results.ranked[-1]) <= scale.high


def _worse(results: SweepResults, scale: Scale) -> float:
    return scale.low if results.mode == "max" else scale.high
