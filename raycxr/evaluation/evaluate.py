"""Measure a model on a split of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.config.evaluate import EvaluateSection
from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex, open_splits
from raycxr.dataset.split import SPLITS
from raycxr.errors import DataError, UsageError
from raycxr.evaluation.film_metrics import FilmMeasures, measure_film
from raycxr.evaluation.truth import OriginalMasks, exclusive
from raycxr.metrics.film_score import film_scores
from raycxr.number_text import count
from raycxr.postprocess.rule import DecisionRule, apply_rules
from raycxr.prediction.decision import shared_rules
from raycxr.prediction.films import PredictedFilm, predict_films
from raycxr.prediction.grey_levels import tell_other_grey_levels
from raycxr.prediction.predictor import Predictor
from raycxr.prediction.target import TargetKind
from raycxr.runs.bundle import Bundle
from raycxr.storage.location import Location
from raycxr.xray.mask import unpack_bits
from raycxr.xray.resize import fit_inside, undo_letterbox


@dataclass(frozen=True)
class FilmPicture:
    """What a picture of a film needs, at the size of the data set: image (S, S), masks (C, S, S)."""

    image: NDArray[Any]
    predicted: NDArray[np.bool_]
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class FilmResult:
    """The figures of one film."""

    id: str
    patient: str
    measures: FilmMeasures

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """Metric -> class -> value."""
        return self.measures.values


@dataclass(frozen=True)
class Evaluation:
    """All films of one split of one data set.

    `unit` is mm or pixels, of distances and of `surface_tolerance`. `worst` and `best` are the films with the least
    and the greatest mean Dice, that one first; only they keep their pixels, so that memory does not grow with a split.
    """

    dataset: str
    dataset_id: str
    split: str
    classes: tuple[str, ...]
    unit: str
    surface_tolerance: float
    films: list[FilmResult] = field(default_factory=list)
    worst: list[tuple[FilmResult, FilmPicture]] = field(default_factory=list)
    best: list[tuple[FilmResult, FilmPicture]] = field(default_factory=list)

    @property
    def films_in_words(self) -> str:
        """How many films of which split there are."""
        return count(len(self.films), "film" if self.split == "all" else f"{self.split} film")

    def add(self, film: FilmResult, picture: FilmPicture, pictures: int) -> None:
        """Enter a film, and its picture where it is one of so many worst or best ones so far."""
        self.films.append(film)
        for kept, best in ((self.worst, False), (self.best, True)):
            kept.append((film, picture))
            kept.sort(key=lambda entry: (entry[0].values["dice"]["mean"], entry[0].id), reverse=best)
            del kept[pictures:]


def evaluate_predictor(
    predictor: Predictor,
    dataset: str | None,
    split: str,
    section: EvaluateSection,
    tell: Callable[[str], None],
    progress: Callable[[int, int], object],
) -> Evaluation:
    """Predict every annotated film of a split and compare it with its masks.

    Parameters
    ----------
    predictor : Predictor
        One network or several.
    dataset : str or None
        URI of the data set; None for the one that the first network was trained on.
    split : str
        train, validation, test, or all.
    section : EvaluateSection
        Settings, as a rule those of the first network's bundle.
    tell : callable
        Says in one line that the films have other grey levels than those of the training.
    progress : callable
        Called with the number of films done, and of all.

    Raises
    ------
    DataError
        The data set is damaged, has no such film, or none of the model's classes.
    UsageError
        The split is unknown, or its films were trained on by one of several networks.
    """
    target, config = predictor.target, predictor.bundles[0].config
    splits = _open(config, dataset)
    rows = _rows(splits, split)
    _check_unseen(rows, split, splits, predictor.bundles[1:])
    size = splits.manifest.geometry.size
    if size != predictor.size:
        raise DataError(
            f"{splits.location} holds films of {size} pixels, the model was trained at {predictor.size}",
            f"ingest the films with ingest.size={predictor.size}",
        )
    classes = tuple(name for name in target.classes if name in splits.manifest.classes)
    if not classes:
        raise DataError(
            f"{splits.location} has none of the model's classes {', '.join(target.classes)}",
            f"it has {', '.join(splits.manifest.classes)}: name them alike in ingest.classes",
        )
    tell_other_grey_levels(predictor.bundles, splits, tell)
    rules = shared_rules(predictor.bundles)
    measure = _Measure(splits, target, classes, rules, config.dataset.precedence, section)
    tolerance = section.surface_tolerance_mm
    evaluation = Evaluation(splits.location.uri, splits.manifest.id, split, classes, _unit(rows), tolerance)
    predicted = predict_films(predictor, rows, splits, section.batch_size, config.dataset.cache)
    for row, film in zip(rows, predicted, strict=True):
        evaluation.add(*measure.film(row, film, evaluation.unit), section.overlays)
        progress(len(evaluation.films), len(rows))
    return evaluation


def _open(config: Config, dataset: str | None) -> SplitIndex:
    """The run's own data set with the run's split rule, another one with its own."""
    if dataset is None or (config.dataset_uri is not None and Location(dataset) == Location(config.dataset_uri)):
        return open_splits(config)
    section = config.dataset.model_copy(update={"uri": dataset, "split": None})
    return open_splits(config.model_copy(update={"dataset": section}))


def _check_unseen(rows: list[dict[str, Any]], split: str, splits: SplitIndex, bundles: Sequence[Bundle]) -> None:
    """Refuse to call films unseen that one of several networks was trained on, as folds of one data set are."""
    if split not in ("validation", "test"):
        return
    for bundle in bundles:
        uri = bundle.config.dataset_uri
        if uri is None or Location(uri) != splits.location:
            continue
        trained = {row["id"] for row in open_splits(bundle.config).rows["train"]}
        seen = sum(row["id"] in trained for row in rows)
        if seen:
            raise UsageError(
                f"{bundle.location} was trained on {seen} of the {len(rows)} {split} films of {splits.location}",
                "name a data set that none of the networks was trained on, or say --split all",
            )


def _rows(splits: SplitIndex, split: str) -> list[dict[str, Any]]:
    if split not in (*SPLITS, "all"):
        raise UsageError(f"split {split!r} is unknown", f"choose {', '.join(SPLITS)} or all")
    names = SPLITS if split == "all" else (split,)
    rows = sorted((row for name in names for row in splits.annotated(name)), key=lambda row: (row["shard"], row["row"]))
    if not rows:
        raise DataError(f"the {split} split of {splits.location} has no annotated film", "choose another --split")
    return rows


def _unit(rows: list[dict[str, Any]]) -> str:
    return "mm" if all(row["spacing_mm"] for row in rows) else "pixels"


class _Measure:
    """Turns probabilities into masks and compares them with the truth."""

    def __init__(
        self,
        splits: SplitIndex,
        target: TargetKind,
        classes: tuple[str, ...],
        rules: Sequence[DecisionRule],
        precedence: tuple[str, ...] | None,
        section: EvaluateSection,
    ) -> None:
        self.originals = OriginalMasks(splits) if section.resolution == "original" else None
        self.size = splits.manifest.geometry.size
        self.target, self.classes, self.section = target, classes, section
        self.rules = rules
        self.precedence = precedence or target.classes
        self.of_dataset = [splits.manifest.classes.index(name) for name in classes]
        self.of_model = [target.classes.index(name) for name in classes]
        self.dataset_classes = len(splits.manifest.classes)

    def film(self, row: dict[str, Any], film: PredictedFilm, unit: str) -> tuple[FilmResult, FilmPicture]:
        probabilities, image_probabilities = film.probabilities, film.image_probabilities
        small_truth = self._truth(film.field)
        small_prediction = self._small_masks(row, probabilities, image_probabilities)
        if self.originals is None:
            truth, compared, prediction = small_truth, probabilities, small_prediction
        else:
            truth = self._truth(self.originals.read(row))
            # Probabilities are enlarged, not masks: an outline may then pass between the pixels of the network.
            compared = undo_letterbox(probabilities, *truth.shape[1:])
            prediction = self._masks(compared, image_probabilities)
        if image_probabilities is None:
            scores = film_scores(torch.from_numpy(self._of_structures(probabilities))[None])[0].numpy()
        else:
            scores = image_probabilities[self.of_model]
        spacing = None
        if self.section.surface_distances:
            spacing = self._spacing(row, truth.shape) if unit == "mm" else 1.0
        measures = measure_film(
            self.classes, prediction, truth, self._of_structures(compared), scores, spacing,
            self.section.surface_tolerance_mm,
        )  # fmt: skip
        picture = FilmPicture(film.image, small_prediction, small_truth)
        return FilmResult(row["id"], row["patient"], measures), picture

    def _truth(self, field_: NDArray[np.uint8]) -> NDArray[np.bool_]:
        masks = unpack_bits(field_, self.dataset_classes)[self.of_dataset]
        return exclusive(masks, self.classes, self.precedence) if self.target.name == "multiclass" else masks

    def _masks(
        self, probabilities: NDArray[np.float32], image_probabilities: NDArray[np.float32] | None
    ) -> NDArray[np.bool_]:
        return apply_rules(self.rules, probabilities, image_probabilities)[self.of_model]

    def _small_masks(
        self,
        row: dict[str, Any],
        probabilities: NDArray[np.float32],
        image_probabilities: NDArray[np.float32] | None,
    ) -> NDArray[np.bool_]:
        """Masks (C, S, S) at the size of the data set; the rules see the film without its padding."""
        inside = fit_inside(row["height"], row["width"], self.size).slices
        masks = np.zeros((len(self.of_model), self.size, self.size), bool)
        masks[:, *inside] = self._masks(probabilities[:, *inside], image_probabilities)
        return masks

    def _of_structures(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (C, H, W) of the measured classes, the background left out."""
        first = 1 if self.target.name == "multiclass" else 0
        return probabilities[[first + position for position in self.of_model]]

    def _spacing(self, row: dict[str, Any], shape: tuple[int, ...]) -> float:
        """Millimetres per pixel of the compared masks."""
        if self.originals is None:
            return float(row["spacing_mm"] * max(row["height"], row["width"]) / self.size)
        return float(row["spacing_mm"] * row["width"] / shape[2])
