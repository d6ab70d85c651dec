"""A report of an evaluation: one HTML page with everything in it, to open in any browser or send by mail."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from raycxr.evaluation.evaluate import Evaluation
from raycxr.evaluation.summary import DISTANCES, TITLES

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.about { color: #777; margin-top: .2rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; } tr:last-child td { font-weight: 600; }
td small { color: #888; font-weight: 400; display: block; }
img { max-width: 100%; border-radius: 6px; } .scroll { overflow-x: auto; }
"""


def report_page(
    evaluations: Sequence[Evaluation],
    summaries: Sequence[Mapping[str, Any]],
    pictures: Sequence[Mapping[str, bytes]],
    bundle: str,
    model: str,
) -> str:
    """HTML of all data sets.

    Parameters
    ----------
    pictures : sequence of mappings
        For each evaluation, heading -> PNG.
    bundle, model : str
        Where the model lies, and what it is in words.
    """
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(model)}</title><style>{STYLE}</style>",
        f"<h1>{html.escape(model)}</h1><p class='about'>{html.escape(bundle)}</p>",
    ]
    for evaluation, summary, sheets in zip(evaluations, summaries, pictures, strict=True):
        about = f"{summary['images']} {evaluation.split} films, {evaluation.dataset} (content {evaluation.dataset_id})"
        parts.append(f"<h2>How well it does</h2><p class='about'>{html.escape(about)}</p>")
        parts.append(f"<div class='scroll'>{_table(summary)}</div>")
        parts.append("<p class='about'>Mean over films, with the 95 % bootstrap interval below.</p>")
        for heading, picture in sheets.items():
            data = base64.b64encode(picture).decode()
            parts.append(f"<h2>{html.escape(heading)}</h2>")
            parts.append(f"<img alt='{html.escape(heading)}' src='data:image/png;base64,{data}'>")
    return "\n".join([*parts, "</html>\n"])


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
