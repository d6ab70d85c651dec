"""The search of decision rules once training has ended: the best bundle is published again with what was found."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from safetensors.torch import load

from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex
from raycxr.postprocess.configured import configured_rules
from raycxr.postprocess.rule import DecisionRule
from raycxr.postprocess.search import FoundRule, RuleSearch
from raycxr.prediction.films import predict_films
from raycxr.prediction.predictor import load_predictor
from raycxr.prediction.target import TargetKind
from raycxr.runs.bundle import METRICS, WEIGHTS
from raycxr.runs.record import BEST
from raycxr.storage.location import Location
from raycxr.training.bundle import save_bundle
from raycxr.xray.resize import fit_inside

OBJECTIVE = "mean Dice over films, two empty masks counting 1, before components and holes"
# The name under which metrics.json has the score, for `raycxr runs` and `raycxr pull --metric`.
SCORE = "searched_dice"


def training_rules(config: Config, target: TargetKind) -> list[DecisionRule]:
    """Rules of a configuration for the classes of its data set.

    Raises
    ------
    ConfigurationError
        As `configured_rules`.
    """
    return configured_rules(
        config.postprocess, target.classes, target.name == "multiclass", image_head=config.model.image_head
    )


def search_rules(
    config: Config, run: Location, splits: SplitIndex, device: torch.device, tell: Callable[[str], None]
) -> list[FoundRule]:
    """Search the rules of all classes on the validation films, and publish the best bundle with them.

    The best bundle's network predicts the films as `raycxr evaluate` will, with the views of `evaluate.test_time`, at
    the size of the data set and without padding. Whatever rules the bundle had before, those of the configuration are
    what the search starts from, so it may be repeated.

    Parameters
    ----------
    run : Location
        With a finished bundle.
    tell : callable
        Says in one line what is going on.
    """
    place = run / BEST
    predictor = load_predictor([place], config.evaluate.test_time, device)
    target, rows = predictor.target, splits.annotated("validation")
    tell(f"searching the decision rule of {', '.join(target.classes)} on {len(rows)} validation films")
    searches = [RuleSearch(rule, config.postprocess.grid) for rule in training_rules(config, target)]
    section, cache = config.evaluate, config.dataset.cache
    films = predict_films(predictor, rows, splits, section.batch_size, cache, config.train.loader_workers)
    for row, film in zip(rows, films, strict=True):
        inside = fit_inside(row["height"], row["width"], splits.manifest.geometry.size).slices
        truth = target.split(torch.from_numpy(film.field)[None])[0].numpy()
        for number, search in enumerate(searches):
            image_probability = None if film.image_probabilities is None else film.image_probabilities[number]
            search.add(film.probabilities[number][inside], truth[number][inside], image_probability)
    found = [search.result() for search in searches]
    _publish(config, place, splits, target, found, len(rows))
    tell(_line(found, target))
    return found


def _publish(
    config: Config, place: Location, splits: SplitIndex, target: TargetKind, found: list[FoundRule], films: int
) -> None:
    """Replace the bundle: the same weights, with the rules and how they were found."""
    scores = {name: _by_class([getattr(rule, name) for rule in found], target) for name in ("before", "after", "empty")}
    metrics = json.loads((place / METRICS).read_text())
    metrics["metrics"][SCORE] = scores["after"]
    search = {"objective": OBJECTIVE, "split": "validation", "films": films, **scores}
    search["grid"] = config.postprocess.grid.model_dump(mode="json")
    weights = load((place / WEIGHTS).read_bytes())
    save_bundle(place, weights, metrics, config, target, splits, [rule.rule for rule in found], search)


def _by_class(values: list[float], target: TargetKind) -> dict[str, float]:
    return dict(zip(target.classes, values, strict=True)) | {"mean": sum(values) / len(values)}


def _line(found: list[FoundRule], target: TargetKind) -> str:
    before, after, empty = (
        sum(getattr(rule, name) for rule in found) / len(found) for name in ("before", "after", "empty")
    )
    rules = "; ".join(f"{name}: {rule.rule}" for name, rule in zip(target.classes, found, strict=True))
    if empty == 1:
        return f"decision rule: as configured, no validation film shows {' or '.join(target.classes)}: {rules}"
    doubt = ", no better than empty masks" if after <= empty else ""
    return f"decision rule: validation Dice {before:.4f} -> {after:.4f} (empty masks {empty:.4f}){doubt}, {rules}"
