"""Tables of an evaluation: means with intervals, one row per film, text for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raycxr.evaluation.data_set_metrics import data_set_metrics
from raycxr.evaluation.evaluate import Evaluation
from raycxr.evaluation.titles import LESIONS, OF_ALL_CLASSES, ORGANS, figure, left_out, title
from raycxr.json_document import to_json
from raycxr.metrics.bootstrap import mean_interval
from raycxr.number_text import count
from raycxr.text_table import aligned

# Intervals are resampled with a seed of their own, so that two evaluations of one model agree to the last digit.
INTERVAL_SEED = 0


def summarise(evaluation: Evaluation, resamples: int) -> dict[str, Any]:
    """Means over films, figures of the whole data set, and the 95 % bootstrap intervals of both.

    Returns
    -------
    dict
        `dataset`, `dataset_id`, `split`, `images`, `unit` of distances and of `surface_tolerance`, `metrics`
        (name -> class -> value), `intervals` (name -> class -> [low, high]) and `undefined` (name -> class -> films
        left out of a mean). What the films of a class leave undefined, such as its AUC where all have the structure,
        is left out.
    """
    metrics: dict[str, dict[str, float]] = {}
    intervals: dict[str, dict[str, list[float]]] = {}
    undefined: dict[str, dict[str, int]] = {}
    for name, classes in evaluation.films[0].values.items():
        metrics[name], intervals[name] = {}, {}
        for structure in classes:
            values = np.array([film.values[name][structure] for film in evaluation.films])
            missing = int(np.isnan(values).sum())
            if missing:
                undefined.setdefault(name, {})[structure] = missing
            if missing < len(values):
                mean, low, high = mean_interval(values, INTERVAL_SEED, resamples)
                metrics[name][structure], intervals[name][structure] = mean, [low, high]
    films = [film.measures for film in evaluation.films]
    for name, estimates in data_set_metrics(films, evaluation.classes, INTERVAL_SEED, resamples).items():
        metrics[name] = {structure: estimate.value for structure, estimate in estimates.items()}
        intervals[name] = {structure: [estimate.low, estimate.high] for structure, estimate in estimates.items()}
    return {
        "dataset": evaluation.dataset,
        "dataset_id": evaluation.dataset_id,
        "split": evaluation.split,
        "images": len(evaluation.films),
        "unit": evaluation.unit,
        "surface_tolerance": evaluation.surface_tolerance,
        "metrics": {name: values for name, values in metrics.items() if values},
        "intervals": {name: values for name, values in intervals.items() if values},
        "undefined": undefined,
    }


def film_table(evaluations: Sequence[Evaluation]) -> str:
    """CSV with one row per film and structure: its figures, the pixels of both masks, and the film's score."""
    names = list(evaluations[0].films[0].values)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    further = ["true_pixels", "predicted_pixels", "score"]
    writer.writerow(["dataset", "split", "id", "patient", "structure", *names, *further])
    for evaluation in evaluations:
        for film in evaluation.films:
            about = [evaluation.dataset, evaluation.split, film.id, film.patient]
            for position, structure in enumerate((*evaluation.classes, "mean")):
                values = [film.values.get(name, {}).get(structure) for name in names]
                shown = ["" if value is None or value != value else f"{value:.6f}" for value in values]
                sizes: list[object] = ["", "", ""]
                if structure != "mean":
                    found = film.measures
                    score = f"{found.scores[position]:.6f}"
                    sizes = [found.true_pixels[position], found.predicted_pixels[position], score]
                writer.writerow([*about, structure, *shown, *sizes])
    return sink.getvalue()


def summary_json(summaries: Sequence[dict[str, Any]], predictor: Mapping[str, Any]) -> str:
    """JSON document of what was measured and all summaries, NaN as null."""
    return to_json({**predictor, "results": list(summaries)})


def summary_text(summary: dict[str, Any]) -> str:
    """What matters, for the terminal: structures down, metrics across, intervals in brackets.

    Structures that every film has and those that some films do not have are told in tables of their own, as nearly
    no metric speaks for both.
    """
    metrics = summary["metrics"]
    classes = [name for name in metrics["dice"] if name != "mean"]
    lesions = [name for name in classes if name in metrics.get("siim_score", {})]
    organs = [name for name in classes if name not in lesions]
    lines = [f"{summary['dataset']}  {summary['split']}, {count(summary['images'], 'film')}, mean [95 % interval]"]
    for structures, names in ((organs, ORGANS), (lesions, LESIONS)):
        if structures:
            shown = [name for name in names if metrics.get(name)]
            # The mean of a metric is over all classes: of both kinds together it would tell nothing.
            mean = ["mean"] if 1 < len(structures) == len(classes) else []
            lines += _table(summary, [*structures, *mean], shown)
    lines.append(", ".join(f"{title(name, summary)} {_cell(summary, name, 'mean')}" for name in OF_ALL_CLASSES))
    lines += left_out(summary, organs)
    if organs and summary["unit"] == "pixels" and "hd95" in metrics:
        lines.append("distances are in pixels, as the spacing of some film is not known")
    return "\n".join(lines)


def _table(summary: dict[str, Any], structures: Sequence[str], names: Sequence[str]) -> list[str]:
    rows = [["", *(title(name, summary) for name in names)]]
    for structure in structures:
        rows.append([structure, *(_cell(summary, name, structure) for name in names)])
    return aligned(rows)


def _cell(summary: dict[str, Any], name: str, structure: str) -> str:
    if structure not in summary["metrics"][name]:
        return ""
    low, high = summary["intervals"][name][structure]
    return f"{figure(summary['metrics'][name][structure], name)} [{figure(low, name)}, {figure(high, name)}]"
