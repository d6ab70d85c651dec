"""Tables of an evaluation: means with intervals, one row per film, text for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raycxr.evaluation.evaluate import Evaluation
from raycxr.json_document import to_json
from raycxr.metrics.bootstrap import mean_interval
from raycxr.number_text import count

# Intervals are resampled with a seed of their own, so that two evaluations of one model agree to the last digit.
INTERVAL_SEED = 0
TITLES = {
    "dice": "Dice",
    "iou": "Jaccard",
    "pixel_accuracy": "pixel accuracy",
    "label_accuracy": "all labels right",
    "hd95": "HD95",
    "assd": "ASSD",
}
DISTANCES = ("hd95", "assd")


def summarise(evaluation: Evaluation, resamples: int) -> dict[str, Any]:
    """Means over films and their 95 % bootstrap intervals.

    Returns
    -------
    dict
        `dataset`, `dataset_id`, `split`, `images`, `unit` of distances, `metrics` (name -> class -> mean),
        `intervals` (name -> class -> [low, high]) and `undefined` (name -> class -> films left out of a mean).
    """
    metrics: dict[str, dict[str, float]] = {}
    intervals: dict[str, dict[str, list[float]]] = {}
    undefined: dict[str, dict[str, int]] = {}
    for name, classes in evaluation.films[0].values.items():
        metrics[name], intervals[name] = {}, {}
        for structure in classes:
            values = np.array([film.values[name][structure] for film in evaluation.films])
            mean, low, high = mean_interval(values, INTERVAL_SEED, resamples)
            metrics[name][structure], intervals[name][structure] = mean, [low, high]
            missing = int(np.isnan(values).sum())
            if missing:
                undefined.setdefault(name, {})[structure] = missing
    return {
        "dataset": evaluation.dataset,
        "dataset_id": evaluation.dataset_id,
        "split": evaluation.split,
        "images": len(evaluation.films),
        "unit": evaluation.unit,
        "metrics": metrics,
        "intervals": intervals,
        "undefined": undefined,
    }


def film_table(evaluations: Sequence[Evaluation]) -> str:
    """CSV with one row per film and structure."""
    names = list(evaluations[0].films[0].values)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["dataset", "split", "id", "patient", "structure", *names])
    for evaluation in evaluations:
        for film in evaluation.films:
            for structure in (*evaluation.classes, "mean"):
                values = [film.values.get(name, {}).get(structure) for name in names]
                shown = ["" if value is None or value != value else f"{value:.6f}" for value in values]
                writer.writerow([evaluation.dataset, evaluation.split, film.id, film.patient, structure, *shown])
    return sink.getvalue()


def summary_json(summaries: Sequence[dict[str, Any]], predictor: Mapping[str, Any]) -> str:
    """JSON document of what was measured and all summaries, NaN as null."""
    return to_json({**predictor, "results": list(summaries)})


def summary_text(summary: dict[str, Any]) -> str:
    """Table for the terminal: structures down, metrics across, intervals in brackets."""
    names = list(summary["metrics"])
    structures = [name for name in summary["metrics"]["dice"] if name != "mean"] + ["mean"]
    titles = [TITLES[name] + (f" ({summary['unit']})" if name in DISTANCES else "") for name in names]
    rows = [["", *titles]]
    for structure in structures:
        rows.append([structure, *(_cell(summary, name, structure) for name in names)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{summary['dataset']}  {summary['split']}, {count(summary['images'], 'film')}, mean [95 % interval]"]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, missing in summary["undefined"].items():
        shown = ", ".join(f"{count} of {structure}" for structure, count in missing.items() if structure != "mean")
        lines.append(f"{TITLES[name]} is undefined where one mask is empty: {shown} left out")
    return "\n".join(lines)


def _cell(summary: dict[str, Any], name: str, structure: str) -> str:
    if structure not in summary["metrics"][name]:
        return ""
    digits = 2 if name in DISTANCES else 3
    value = summary["metrics"][name][structure]
    low, high = summary["intervals"][name][structure]
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
