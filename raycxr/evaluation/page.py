"""A report of an evaluation as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from raycxr.evaluation.evaluate import Evaluation
from raycxr.evaluation.titles import GROUPS, figure, left_out, title
from raycxr.html_document import html_document, picture_uri

STYLE = """
tr:nth-child(n + 3):last-child td { font-weight: 600; } td small { white-space: nowrap; }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
"""


def report_page(
    evaluations: Sequence[Evaluation],
    summaries: Sequence[Mapping[str, Any]],
    pictures: Sequence[Mapping[str, bytes]],
    bundles: str,
    model: str,
) -> str:
    """HTML of all data sets.

    Parameters
    ----------
    pictures : sequence of mappings
        For each evaluation, heading -> PNG.
    bundles, model : str
        Where the networks lie, and what they are in words.
    """
    parts = [f"<h1>{html.escape(model)}</h1><p class='about'>{html.escape(bundles)}</p>"]
    for evaluation, summary, sheets in zip(evaluations, summaries, pictures, strict=True):
        films = evaluation.films_in_words
        about = f"{films}, {evaluation.dataset} (content {evaluation.dataset_id})"
        parts.append(f"<h2>How well it does</h2><p class='about'>{html.escape(about)}</p>")
        parts.append(_tables(summary))
        parts.append("<p class='about'>Mean over films, with the 95 % bootstrap interval below.</p>")
        for heading, picture in sheets.items():
            parts.append(f"<h2>{html.escape(heading)}</h2>")
            parts.append(f"<img alt='{html.escape(heading)}' src='{picture_uri(picture, 'png')}'>")
    return html_document(model, "\n".join(parts), STYLE)


def _tables(summary: Mapping[str, Any]) -> str:
    """One table per group of metrics that have a value for some class."""
    parts = []
    for heading, names in GROUPS.items():
        shown = [name for name in names if summary["metrics"].get(name)]
        if shown:
            parts.append(f"<h3>{html.escape(heading)}</h3><div class='scroll'>{_table(summary, shown)}</div>")
    for sentence in left_out(summary, [name for name in summary["metrics"]["dice"] if name != "mean"]):
        parts.append(f"<p class='about'>{html.escape(sentence)}.</p>")
    return "\n".join(parts)


def _table(summary: Mapping[str, Any], names: Sequence[str]) -> str:
    rows = ["<tr><th></th>" + "".join(f"<th>{html.escape(title(name, summary))}</th>" for name in names) + "</tr>"]
    structures = [name for name in summary["metrics"]["dice"] if name != "mean"]
    with_value = {structure for name in names for structure in summary["metrics"][name]}
    for structure in [*structures, "mean"]:
        # The mean over one class would only repeat it.
        if structure in with_value and (structure != "mean" or len(with_value) != 2):
            cells = "".join(_cell(summary, name, structure) for name in names)
            rows.append(f"<tr><td>{html.escape(structure)}</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _cell(summary: Mapping[str, Any], name: str, structure: str) -> str:
    if structure not in summary["metrics"][name]:
        return "<td></td>"
    low, high = summary["intervals"][name][structure]
    value = figure(summary["metrics"][name][structure], name)
    return f"<td>{value}<small>{figure(low, name)} to {figure(high, name)}</small></td>"
