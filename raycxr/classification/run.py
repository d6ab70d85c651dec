"""A classifier's run from its configuration to its record: checked, claimed, trained fold by fold, closed.

It trains in this process, with or without Ray's cluster: on frozen features every fold is a matter of seconds, and
the features are computed once. Where the encoder is trained too, one GPU serves the thousands of films that such data
sets have; several workers are refused rather than left idle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.classification.bundle import save_classifier
from raycxr.classification.encoder import feature_maps, load_encoder
from raycxr.classification.features import frozen_features
from raycxr.classification.films import Progress, find_lungs
from raycxr.classification.fit import Fitted, fit, fold_seed, predict
from raycxr.classification.folds import Fold, make_folds, whole
from raycxr.classification.labels import LabelledFilms, check_both_kinds, labelled_films
from raycxr.classification.learner import FeatureLearner, FilmLearner, Learner
from raycxr.classification.lungs import LungFinder, load_lung_finder
from raycxr.classification.page import run_page
from raycxr.classification.seen import ENCODER, LUNGS, Seen, films_seen
from raycxr.classification.summary import FILMS, REPORT, TITLES, figures_of, film_table, part_of
from raycxr.config.sections import Config
from raycxr.dataset.films import open_splits, shard_paths
from raycxr.errors import ConfigurationError, RaycxrError, TrainingError, UsageError
from raycxr.json_document import to_json
from raycxr.metrics.binary import FIGURES
from raycxr.prediction.compute import Compute, choose_compute
from raycxr.prediction.grey_levels import tell_other_grey_levels
from raycxr.runs.bundle import Bundle
from raycxr.runs.record import BEST, finish_record, start_record, write_history
from raycxr.storage.check import check_writable
from raycxr.storage.location import Location
from raycxr.training.run import RunResult, run_name

# Shows the progress of work on many films while it is open; the argument says what is done.
Show = Callable[[str], AbstractContextManager[Progress]]


def classify(
    config: Config, config_path: Path, resume: str | None, tell: Callable[[str], None], show: Show
) -> RunResult:
    """Cross-validate a classifier, then train the one that is kept on all films.

    Returns
    -------
    RunResult
        `metrics` are those of the films out of fold; `epochs` and `best_epoch` those of the model that is kept.

    Raises
    ------
    RaycxrError
        In one line: the configuration does not fit the data, the run exists, storage refuses, the loss diverged.
    """
    section = config.classify
    assert section is not None
    if resume is not None:
        raise UsageError("a classifier's run is not resumed", "start it again; frozen features are in the cache")
    if config.resources.most_workers > 1:
        raise ConfigurationError(
            f"a classifier is trained in one process, resources.workers = {config.resources.workers}",
            "set resources.workers=1",
        )
    if config.train.loader != "torch" or config.augment.where != "loader":
        raise ConfigurationError(
            "films of a classifier are read and augmented by processes beside it",
            "set train.loader=torch and augment.where=loader",
        )
    films = labelled_films(open_splits(config), section.label)
    check_both_kinds(films)
    seed = config.train.seed
    folds = make_folds(films, section.validation, section.validation_fraction, seed)
    kept = whole(films, section.validation_fraction, seed)
    torch.manual_seed(seed)
    bundles: dict[str, Bundle] = {}
    encoder, bundle = load_encoder(section)
    if bundle is not None:
        # The classifier's own bundle tells which network the encoder belongs to.
        config, bundles[ENCODER] = config.model_copy(update={"model": bundle.config.model}), bundle
    maps = feature_maps(encoder, films.size)
    finder: LungFinder | None = None
    if section.lungs is not None:
        finder, bundles[LUNGS] = load_lung_finder(section.lungs, films.size)
    seen = {part: films_seen(bundle, films, encoder_alone=part == ENCODER) for part, bundle in bundles.items()}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compute = Compute(device, None, config.train.channels_last) if section.frozen else choose_compute(
        config.train, device
    )  # fmt: skip
    run = Location(config.storage.uri) / run_name(config, config_path)
    check_writable(run.parent)
    start_record(run, config, _describe(films, folds), 1)
    tell(f"run {run}: {len(films)} films of {films.size} pixels, {int(films.labels.sum())} with {section.label}")
    tell_other_grey_levels(bundles.values(), films.splits, tell)
    try:
        learner = _learner(config, encoder, maps, films, finder, compute, tell, show)
        result = _train(run, config, films, folds, kept, learner, finder, seen, tell)
    except KeyboardInterrupt:
        finish_record(run, "interrupted")
        raise TrainingError(f"run {run.name} was interrupted", "start it again with another train.name") from None
    except Exception as error:
        # The record must not say "running" for ever; the error itself goes on to the user.
        finish_record(run, "failed", error.message if isinstance(error, RaycxrError) else repr(error))
        raise
    finish_record(run, "finished")
    return result


def result_text(result: RunResult) -> str:
    """What a person is told of a finished run."""
    values = "  ".join(f"{TITLES[name]} {_shown(result.metrics[name]['mean'])}" for name in FIGURES)
    return (
        f"{result.run}\n  out of fold: {values}\n  kept: epoch {result.best_epoch} of {result.epochs}, trained on all "
        f"films\n  report {Location(result.run) / REPORT}\n  bundle {result.bundle}"
    )


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _learner(
    config: Config,
    encoder: torch.nn.Module,
    maps: int,
    films: LabelledFilms,
    finder: LungFinder | None,
    compute: Compute,
    tell: Callable[[str], None],
    show: Show,
) -> Learner:
    section = config.classify
    assert section is not None
    if section.frozen:
        with show("features") as progress:
            features = frozen_features(encoder, maps, films, finder, config, compute, tell, progress)
        told = "from the cache" if features.cached else "computed, and kept in the cache"
        tell(f"features: {len(films)} films, {maps} maps each, {told}")
        return FeatureLearner(section, encoder.cpu(), features.values, films.labels)
    paths = shard_paths(films.splits, config.dataset.cache)
    lungs: NDArray[np.uint8] | None = None
    if finder is not None:
        with show("lungs") as progress:
            lungs = find_lungs(finder, films.rows, paths, config.evaluate.batch_size, compute, progress)
    return FilmLearner(config, encoder, maps, films, paths, lungs, compute)


def _train(
    run: Location,
    config: Config,
    films: LabelledFilms,
    folds: Sequence[Fold],
    kept: Fold,
    learner: Learner,
    finder: LungFinder | None,
    seen: Seen,
    tell: Callable[[str], None],
) -> RunResult:
    section = config.classify
    assert section is not None
    history: list[dict[str, Any]] = []
    probabilities, fold_of = np.zeros(len(films)), [""] * len(films)
    parts: list[dict[str, Any]] = []
    for fold in folds:
        fitted = _fit(run, config, fold, learner, history, tell)
        tested = predict(fitted.module, learner.batches(fold.test), learner.compute)
        probabilities[fold.test] = tested
        for position in fold.test:
            fold_of[position] = fold.name
        figures = figures_of(part_of(films, fold.test), tested, section.threshold, config.evaluate.bootstrap)
        parts.append({"name": fold.name, "epoch": fitted.best_epoch, "epochs": len(fitted.history), **figures})
        values = "  ".join(f"{TITLES[name]} {value['mean']:.3f}" for name, value in figures["metrics"].items())
        tell(f"{fold.name}: {len(fold.test)} films, epoch {fitted.best_epoch} of {len(fitted.history)}  {values}")
    (run / FILMS).write_text(film_table(films, fold_of, probabilities))
    last = _fit(run, config, kept, learner, history, tell)
    metrics = {
        "epoch": last.best_epoch,
        "epochs": len(last.history),
        "split": "out of fold",
        **figures_of(films, probabilities, section.threshold, config.evaluate.bootstrap),
        "folds": parts,
        "seen_in_training": dict(seen),
    }
    page = run_page(config, films, fold_of, probabilities, metrics, run)
    (run / REPORT).write_text(page)
    save_classifier(run / BEST, learner.classifier(last.module), finder, metrics, config, films)
    plain: dict[str, Any] = json.loads(to_json(metrics["metrics"]))
    return RunResult(run.uri, (run / BEST).uri, len(last.history), last.best_epoch, plain)


def _fit(
    run: Location,
    config: Config,
    fold: Fold,
    learner: Learner,
    history: list[dict[str, Any]],
    tell: Callable[[str], None],
) -> Fitted:
    """Train one fold and enter its epochs into the history; those of the model that is kept bear no fold's name."""
    section = config.classify
    assert section is not None
    name = fold.name if fold.test else None
    seed = fold_seed(config.train.seed, fold.name)

    def enter(entry: dict[str, Any]) -> None:
        history.append({"fold": name, **entry})
        if not section.frozen:
            # An epoch over films takes long enough to be told of, and to be kept.
            write_history(run, history)
            validation = entry["validation"]
            tell(
                f"{fold.name}: epoch {entry['epoch']}/{section.epochs}  loss {entry['train']['loss']:.4f}  validation "
                f"loss {validation['loss']:.4f} AUC {validation['auc']:.3f}  {entry['seconds']:.1f} s"
                f"{'  best' if entry['best'] else ''}"
            )

    torch.manual_seed(seed)
    module = learner.new_module()
    fitted = fit(
        module,
        learner.train_batches(fold.train, seed),
        lambda: learner.batches(fold.validation),
        config,
        seed,
        learner.compute,
        enter,
    )
    write_history(run, history)
    return fitted


def _describe(films: LabelledFilms, folds: Sequence[Fold]) -> dict[str, Any]:
    return {
        "uri": films.splits.location.uri,
        "id": films.splits.manifest.id,
        "classes": [films.label],
        "splits": {fold.name: len(fold.test) for fold in folds},
    }
