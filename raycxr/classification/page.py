"""Report of a classifier as one HTML page: figures, ROC curve, calibration, and its worst mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.classification.labels import LabelledFilms
from raycxr.classification.seen import seen_text
from raycxr.classification.summary import TITLES, chance_accuracy, classifier_title
from raycxr.config.sections import Config
from raycxr.dataset.films import Films, shard_paths
from raycxr.html_document import html_document, picture_uri
from raycxr.metrics.binary import FIGURES
from raycxr.number_text import count, percent
from raycxr.report.probability_chart import STYLE as CHART_STYLE
from raycxr.report.probability_chart import calibration_chart, roc_chart
from raycxr.storage.location import Location
from raycxr.xray.outline import grey_levels
from raycxr.xray.resize import resize_image

_TILE = 256
_QUALITY = 85
STYLE = (
    CHART_STYLE
    + """
h3 { font-size: 1rem; margin: 1.4rem 0 .6rem; }
tr.total td { font-weight: 600; } td { white-space: nowrap; } th { font-weight: 600; }
.charts { display: grid; gap: 1rem 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.charts h2 { margin-top: 1rem; }
.charts p { color: var(--muted); font-size: .85rem; max-width: 27rem; margin: .3rem 0; }
.tiles { display: grid; gap: 1.1rem .9rem; grid-template-columns: repeat(auto-fill, minmax(min(11rem, 44vw), 1fr)); }
.tiles img { width: 100%; display: block; background: #000; } figure { margin: 0; min-width: 0; }
figcaption { font-size: .8rem; line-height: 1.4; margin-top: .35rem; overflow-wrap: anywhere; }
figcaption b { display: block; } figcaption span { color: var(--muted); display: block; }
"""
)


def run_page(
    config: Config,
    films: LabelledFilms,
    fold_of: Sequence[str],
    probabilities: NDArray[np.float64],
    metrics: Mapping[str, Any],
    run: Location,
) -> str:
    """HTML of a run.

    Parameters
    ----------
    fold_of : sequence of str
        Name of the fold in which each film was tested.
    probabilities : float array (N,)
        Given to each film there.
    metrics : mapping
        `images`, `positive`, `metrics`, `intervals`, `folds` and `seen_in_training`, see `raycxr.classification.run`.
    run : Location
    """
    heading = "How well it does on films it was not trained on"
    told = (
        "All films: the probabilities that the folds' models gave to the films each was not trained on, taken together."
    )
    return _page(config, films, fold_of, probabilities, metrics, f"run {run}", heading, told)


def evaluation_page(
    config: Config,
    films: LabelledFilms,
    probabilities: NDArray[np.float64],
    result: Mapping[str, Any],
    bundle: Location,
) -> str:
    """HTML of a bundle measured on another data set.

    Parameters
    ----------
    config : Config
        Of the bundle.
    probabilities : float array (N,)
        Given to each film.
    result : mapping
        What `raycxr.classification.evaluate.evaluate_classifier` returns.
    bundle : Location
    """
    heading = f"How well it does on the films of {'all splits' if result['split'] == 'all' else result['split']}"
    metrics = {**result, "folds": []}
    fold_of = [result["split"]] * len(films)
    return _page(config, films, fold_of, probabilities, metrics, f"bundle {bundle}", heading, "")


def _page(
    config: Config,
    films: LabelledFilms,
    fold_of: Sequence[str],
    probabilities: NDArray[np.float64],
    metrics: Mapping[str, Any],
    model: str,
    heading: str,
    told: str,
) -> str:
    section, manifest = config.classify, films.splits.manifest
    assert section is not None
    title = f"{classifier_title(config)}: {films.label}"
    about = (
        f"{count(len(films), 'film')} of {films.size} pixels, {metrics['positive']} with {films.label}; "
        f"{films.splits.location} (content {manifest.id}); {model}"
    )
    fold = np.array(fold_of)
    parts = {
        part["name"]: (probabilities[fold == part["name"]], films.labels[fold == part["name"]])
        for part in metrics["folds"]
    }
    body = [
        f"<h1>{escape(title)}</h1><p class='about'>{escape(about)}</p>",
        f"<h2>{escape(heading)}</h2>",
        f"<div class='scroll'>{_table(metrics)}</div>",
        f"<p class='about'>95 % bootstrap intervals over films below each value. {told} A film above "
        f"{section.threshold:g} is called positive. The more frequent answer alone is right in "
        f"{percent(chance_accuracy(metrics))}. {seen_text(metrics['seen_in_training'], len(films))}</p>",
        _confusion(films, probabilities > section.threshold),
        "<div class='charts'>",
        f"<div><h2>ROC curve</h2>{roc_chart(parts, probabilities, films.labels, section.threshold)}"
        f"<p>Thick: all films; {'thin: each fold; ' if parts else ''}dot: the threshold.</p></div>",
        f"<div><h2>Calibration</h2>{calibration_chart(probabilities, films.labels)}"
        "<p>Share of positives among films given about the same probability; on the dashed line they agree. Bars: how "
        "many films.</p></div></div>",
        _mistakes(config, films, fold_of, probabilities),
    ]
    return html_document(title, "\n".join(body), STYLE)


def _table(metrics: Mapping[str, Any]) -> str:
    head = "".join(f"<th>{TITLES[name]}</th>" for name in FIGURES)
    rows = [f"<tr><th></th><th>films</th><th>positive</th>{head}</tr>"]
    for part in (*metrics["folds"], {"name": "all films", **metrics}):
        kind = " class='total'" if part["name"] == "all films" else ""
        cells = "".join(_cell(part, name) for name in FIGURES)
        numbers = f"<td>{part['images']}</td><td>{part['positive']}</td>"
        rows.append(f"<tr{kind}><td>{escape(part['name'])}</td>{numbers}{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _cell(part: Mapping[str, Any], name: str) -> str:
    value = part["metrics"][name]["mean"]
    if value != value:
        return "<td>undefined</td>"
    low, high = part["intervals"][name]["mean"]
    return f"<td>{value:.3f}<small>{low:.3f} to {high:.3f}</small></td>"


def _confusion(films: LabelledFilms, called: NDArray[np.bool_]) -> str:
    rows = ["<tr><th></th><th>called positive</th><th>called negative</th></tr>"]
    for kind, truth in (("positive", films.labels), ("negative", ~films.labels)):
        cells = f"<td>{np.count_nonzero(truth & called)}</td><td>{np.count_nonzero(truth & ~called)}</td>"
        rows.append(f"<tr><td>{kind} films</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _mistakes(config: Config, films: LabelledFilms, fold_of: Sequence[str], probabilities: NDArray[np.float64]) -> str:
    """Films on the wrong side of the threshold, the farthest from it first."""
    assert config.classify is not None
    called, most = probabilities > config.classify.threshold, config.evaluate.overlays
    order = np.argsort(probabilities, kind="stable")
    missed = [int(film) for film in order if films.labels[film] and not called[film]]
    invented = [int(film) for film in order[::-1] if not films.labels[film] and called[film]]
    if not most or not missed + invented:
        return ""
    parts = ["<h2>Worst mistakes</h2>"]
    pictures = Films(films.rows, shard_paths(films.splits, config.dataset.cache), None)
    for heading, mistakes in (("Positive films called negative", missed), ("Negative films called positive", invented)):
        shown = "".join(_tile(films, fold_of, probabilities, pictures, film) for film in mistakes[:most])
        told = f"{heading}: {len(mistakes)}" + (f", the {most} worst" if len(mistakes) > most else "")
        parts.append(f"<h3>{told}</h3><div class='tiles'>{shown}</div>")
    return "".join(parts)


def _tile(
    films: LabelledFilms, fold_of: Sequence[str], probabilities: NDArray[np.float64], pictures: Films, film: int
) -> str:
    name = escape(films.rows[film]["id"])
    grey = grey_levels(pictures[0, film][1])
    side = min(_TILE, grey.shape[0])
    small = np.ascontiguousarray(resize_image(np.ascontiguousarray(grey), side, side))
    picture = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return (
        f"<figure><img alt='film {name}' src='{picture_uri(picture, 'jpeg')}'><figcaption><b>{name}</b>"
        f"<span>probability {probabilities[film]:.3f}</span><span>{escape(fold_of[film])}</span></figcaption></figure>"
    )
