"""A report of an evaluation as one HTML page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from raycxr.evaluation.evaluate import Evaluation
from raycxr.evaluation.summary import DISTANCES, TITLES
from raycxr.html_document import html_document, picture_uri
from raycxr.number_text import count

STYLE = """
tr:last-child td { font-weight: 600; }
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
        films = count(summary["images"], f"{evaluation.split} film")
        about = f"{films}, {evaluation.dataset} (content {evaluation.dataset_id})"
        parts.append(f"<h2>How well it does</h2><p class='about'>{html.escape(about)}</p>")
        parts.append(f"<div class='scroll'>{_table(summary)}</div>")
        parts.append("<p class='about'>Mean over films, with the 95 % bootstrap interval below.</p>")
        for heading, picture in sheets.items():
            parts.append(f"<h2>{html.escape(heading)}</h2>")
            parts.append(f"<img alt='{html.escape(heading)}' src='{picture_uri(picture, 'png')}'>")
    return html_document(model, "\n".join(parts), STYLE)


def _table(summary: Mapping[str, Any]) -> str:
    names = list(summary["metrics"])
    titles = [TITLES[name] + (f" ({summary['unit']})" if name in DISTANCES else "") for name in names]
    rows = ["<tr><th></th>" + "".join(f"<th>{title}</th>" for title in titles) + "</tr>"]
    for structure in [*(name for name in summary["metrics"]["dice"] if name != "mean"), "mean"]:
        cells = "".join(_cell(summary, name, structure) for name in names)
        rows.append(f"<tr><td>{html.escape(structure)}</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _cell(summary: Mapping[str, Any], name: str, structure: str) -> str:
    if structure not in summary["metrics"][name]:
        return "<td></td>"
    digits = 2 if name in DISTANCES else 3
    low, high = summary["intervals"][name][structure]
    value = summary["metrics"][name][structure]
    return f"<td>{value:.{digits}f}<small>{low:.{digits}f} to {high:.{digits}f}</small></td>"
