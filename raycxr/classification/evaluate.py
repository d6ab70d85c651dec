"""Measure a classifier's bundle on a data set that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.classification.bundle import LoadedClassifier, load_classifier
from raycxr.classification.films import Progress, ReducedFilms, find_lungs, in_order
from raycxr.classification.labels import LabelledFilms, labelled_films
from raycxr.classification.page import evaluation_page
from raycxr.classification.seen import ENCODER, LUNGS, films_seen
from raycxr.classification.summary import FILMS, REPORT, SUMMARY, figures_of, figures_text, film_table
from raycxr.dataset.films import open_splits, shard_paths
from raycxr.dataset.split import SPLITS
from raycxr.errors import DataError, RaycxrError, UsageError
from raycxr.json_document import to_json
from raycxr.prediction.compute import Compute, compute_of_trained, full_float32
from raycxr.prediction.grey_levels import tell_other_grey_levels
from raycxr.prediction.target import normalise
from raycxr.runs.bundle import find_bundle, read_bundle
from raycxr.storage.location import Location


def evaluate_classifier(
    location: Location,
    dataset: str | None,
    split: str,
    out: Location | None,
    tell: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Figures of a classifier on the labelled films of a split.

    Parameters
    ----------
    dataset : str or None
        URI of the data set; None asks for the one that it was trained on, which is refused.
    split : str
        train, validation, test, or all.
    out : Location or None
        Folder to which `films.csv`, `summary.json` and `report.html` are written.
    tell : callable
        Says in one line that the films have other grey levels than those of the training.

    Returns
    -------
    dict
        `dataset`, `dataset_id`, `split`, `images`, `positive`, `metrics` and `intervals` (name -> label and `mean`),
        and `seen_in_training`, see `seen.py`.

    Raises
    ------
    UsageError
        An unknown split, or the data set whose films it was all trained on.
    DataError, ConfigurationError
        Films of another size, or none with the label.
    """
    if split not in (*SPLITS, "all"):
        raise UsageError(f"split {split!r} is unknown", f"choose {', '.join(SPLITS)} or all")
    classifier = load_classifier(location)
    config = classifier.bundle.config
    if dataset is None:
        raise UsageError(f"{location} was trained on all films of its own data set", _seen(location))
    section = config.dataset.model_copy(update={"uri": dataset, "split": None})
    splits = open_splits(config.model_copy(update={"dataset": section}))
    if splits.manifest.id == classifier.dataset_id:
        raise UsageError(f"{location} was trained on all films of {dataset}", _seen(location))
    films = labelled_films(splits, classifier.label, SPLITS if split == "all" else (split,))
    if films.size != classifier.bundle.size:
        raise DataError(
            f"{splits.location} holds films of {films.size} pixels, the model was trained at {classifier.bundle.size}",
            f"ingest the films with ingest.size={classifier.bundle.size}",
        )
    tell_other_grey_levels([classifier.bundle], splits, tell)
    probabilities = classify_films(classifier, films, progress)
    result = {
        "dataset": splits.location.uri,
        "dataset_id": splits.manifest.id,
        "split": split,
        **figures_of(films, probabilities, classifier.threshold, config.evaluate.bootstrap),
        "seen_in_training": _seen_by_parts(classifier, films),
    }
    if out is not None:
        (out / FILMS).write_text(film_table(films, [split] * len(films), probabilities))
        (out / SUMMARY).write_text(to_json({"bundle": location.uri, "results": [result]}))
        (out / REPORT).write_text(evaluation_page(config, films, probabilities, result, location))
    return result


@torch.no_grad()
def classify_films(classifier: LoadedClassifier, films: LabelledFilms, progress: Progress) -> NDArray[np.float64]:
    """Probability (N,) of every film."""
    config = classifier.bundle.config
    section = config.classify
    assert section is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain = Compute(device, None, config.train.channels_last)
    compute = plain if section.frozen else compute_of_trained(config.train, device)
    paths, batch_size = shard_paths(films.splits, config.dataset.cache), config.evaluate.batch_size
    lungs = None
    if classifier.finder is not None:
        lungs = find_lungs(classifier.finder, films.rows, paths, batch_size, plain, progress)
    model = compute.place(classifier.model).eval()
    parts: list[NDArray[np.float64]] = []
    reduced = ReducedFilms(films.rows, paths, None, lungs, section.lungs)
    for batch in in_order(reduced, batch_size, compute):
        # As the features that a frozen encoder's head was trained on; see `frozen_features`.
        with full_float32() if section.frozen else compute.autocast():
            logits = model(normalise(batch.images.to(compute.device)))
        parts.append(logits.float().sigmoid().double().cpu().numpy())
        progress(sum(map(len, parts)), len(films))
    return np.concatenate(parts)


def evaluation_text(results: list[dict[str, Any]]) -> str:
    """Table for the terminal."""
    return figures_text([(f"{result['dataset']} {result['split']}", result) for result in results])


def _seen_by_parts(classifier: LoadedClassifier, films: LabelledFilms) -> dict[str, int | None]:
    """Films that the encoder and the lung finder were trained on, as far as their own bundles are still there."""
    section = classifier.bundle.config.classify
    assert section is not None
    uris = {ENCODER: section.bundle, LUNGS: None if section.lungs is None else section.lungs.bundle}
    seen: dict[str, int | None] = {}
    for part, uri in uris.items():
        if uri is not None:
            try:
                seen[part] = films_seen(read_bundle(find_bundle(uri)), films, encoder_alone=part == ENCODER)
            except RaycxrError:
                seen[part] = None
    return seen


def _seen(location: Location) -> str:
    return f"name another data set; the figures out of fold stand in {location / 'metrics.json'}"
