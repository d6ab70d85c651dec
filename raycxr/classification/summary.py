"""Figures of a classifier: over all films and by fold, with intervals, for programs, tables and the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.classification.labels import LabelledFilms
from raycxr.config.sections import Config
from raycxr.metrics.binary import FIGURES, binary_figures, binary_intervals
from raycxr.text_table import aligned

# Intervals are resampled with a seed of their own, so that two evaluations of one model agree to the last digit.
INTERVAL_SEED = 0
# Files in the folder of a run or of an evaluation.
FILMS, SUMMARY, REPORT = "films.csv", "summary.json", "report.html"
TITLES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC"}


def figures_of(
    films: LabelledFilms, probabilities: NDArray[np.float64], threshold: float, resamples: int
) -> dict[str, Any]:
    """Figures of all films together.

    Returns
    -------
    dict
        `images`, `positive`, `metrics` (name -> label and `mean` -> value) and `intervals` (name -> label and `mean`
        -> [low, high]), in the form of the evaluation of a segmentation network.
    """
    metrics = binary_figures(probabilities, films.labels, threshold)
    intervals = binary_intervals(probabilities, films.labels, threshold, INTERVAL_SEED, resamples)
    names = (films.label, "mean")
    return {
        "images": len(films),
        "positive": int(films.labels.sum()),
        "metrics": {name: dict.fromkeys(names, value) for name, value in metrics.items()},
        "intervals": {name: {key: list(interval) for key in names} for name, interval in intervals.items()},
    }


def part_of(films: LabelledFilms, positions: Sequence[int]) -> LabelledFilms:
    """Some of the films."""
    return LabelledFilms(
        films.label, films.splits, [films.rows[position] for position in positions], films.labels[list(positions)]
    )


def film_table(films: LabelledFilms, folds: Sequence[str], probabilities: NDArray[np.float64]) -> str:
    """CSV with one row per film: its label, the fold in which it was tested, and the probability given to it there."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["id", "patient", "source", "label", "fold", "probability"])
    for row, label, fold, probability in zip(films.rows, films.labels, folds, probabilities, strict=True):
        writer.writerow([row["id"], row["patient"], row["source"], int(label), fold, f"{probability:.6f}"])
    return sink.getvalue()


def figures_text(parts: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Table for the terminal: one line per part, such as a fold, with intervals in brackets."""
    rows = [["", "films", *(TITLES[name] for name in FIGURES)]]
    for title, figures in parts:
        cells = [_cell(figures, name) for name in FIGURES]
        rows.append([title, f"{figures['images']} ({figures['positive']} positive)", *cells])
    return "\n".join(aligned(rows))


def classifier_title(config: Config) -> str:
    """Name of the encoder that a classifier stands on."""
    section = config.classify
    assert section is not None
    return f"Classifier on {section.encoder or f'the encoder of a {config.model.title}'}"


def chance_accuracy(figures: Mapping[str, Any]) -> float:
    """Accuracy of always saying what more films are."""
    share: float = figures["positive"] / figures["images"]
    return max(share, 1 - share)


def _cell(figures: Mapping[str, Any], name: str) -> str:
    value = figures["metrics"][name]["mean"]
    low, high = figures["intervals"][name]["mean"]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if value == value else "undefined"
