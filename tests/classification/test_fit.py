"""Training of heads: it learns what is there, learns nothing from noise, and repeats itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raycxr.classification.fit import Fitted, fit, fold_seed, predict
from raycxr.classification.folds import make_folds
from raycxr.classification.labels import LabelledFilms
from raycxr.classification.learner import FeatureLearner
from raycxr.config.load import check_config
from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex
from raycxr.dataset.manifest import Manifest
from raycxr.errors import TrainingError
from raycxr.metrics.auc import auc
from raycxr.storage.location import Location

# All that is asked of it.
MANIFEST: dict[str, Any] = {"id": "abc"}


def configuration(**settings: Any) -> Config:
    classify = {"label": "tb", "encoder": "resnet18", "hidden": [16], "epochs": 12, "validation": {"folds": 3}}
    return check_config({"classify": classify | settings, "optimizer": {"lr": 0.01}}, "a test")


def problem(strength: float, films: int = 240) -> tuple[LabelledFilms, torch.Tensor]:
    """Films and their features (N, 2 x 20); in one of them the positives are larger by `strength` deviations."""
    generator = np.random.default_rng(5)
    labels = generator.random(films) < 0.5
    features = generator.normal(size=(films, 40)).astype(np.float32)
    features[:, 3] += strength * labels
    rows = [{"id": f"f{n}", "patient": f"p{n}", "pixels_sha256": f"x{n}", "source": "a"} for n in range(films)]
    splits = SplitIndex(Location("/data/tb"), Manifest.model_construct(**MANIFEST), {"train": rows})
    return LabelledFilms("tb", splits, rows, labels), torch.from_numpy(1000 * features + 50)


def out_of_fold(config: Config, films: LabelledFilms, features: torch.Tensor) -> np.ndarray:
    assert config.classify is not None
    learner = FeatureLearner(config.classify, nn.Identity(), features, films.labels)
    probabilities = np.zeros(len(films))
    for fold in make_folds(films, config.classify.validation, 0.2, 0):
        fitted = train(config, learner, fold.train, fold.validation, fold_seed(0, fold.name))
        probabilities[fold.test] = predict(fitted.module, learner.batches(fold.test), learner.compute)
    return probabilities


def train(config: Config, learner: FeatureLearner, train: list[int], validation: list[int], seed: int) -> Fitted:
    torch.manual_seed(seed)
    batches = learner.train_batches(train, seed)
    return fit(
        learner.new_module(), batches, lambda: learner.batches(validation), config, seed, learner.compute, _nothing
    )


def _nothing(entry: dict[str, Any]) -> None:
    pass


def test_what_is_there_is_learned_whatever_its_scale() -> None:
    films, features = problem(strength=4)
    probabilities = out_of_fold(configuration(epochs=20), films, features)
    assert auc(probabilities, films.labels) > 0.9
    assert ((probabilities > 0.5) == films.labels).mean() > 0.8


def test_nothing_is_learned_from_noise() -> None:
    # Were a film tested by a model that was trained on it, its label would be known by heart.
    films, features = problem(strength=0)
    assert 0.35 < auc(out_of_fold(configuration(epochs=30), films, features), films.labels) < 0.65


def test_the_same_seed_gives_the_same_weights() -> None:
    config = configuration()
    assert config.classify is not None
    films, features = problem(strength=1)
    learner = FeatureLearner(config.classify, nn.Identity(), features, films.labels)
    first, second, other = (train(config, learner, [*range(200)], [*range(200, 240)], seed) for seed in (1, 1, 2))
    weights = [fitted.module.state_dict() for fitted in (first, second, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


def test_the_best_epoch_is_kept_and_patience_ends_the_run() -> None:
    config = configuration(epochs=200, patience=5, dropout=0.0)
    assert config.classify is not None
    films, features = problem(strength=1)
    learner = FeatureLearner(config.classify, nn.Identity(), features, films.labels)
    fitted = train(config, learner, [*range(60)], [*range(200, 240)], 0)
    losses = [entry["validation"]["loss"] for entry in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - 5
    assert [entry["epoch"] for entry in fitted.history if entry["best"]][-1] == fitted.best_epoch
    probabilities = predict(fitted.module, learner.batches([*range(200, 240)]), learner.compute)
    truth = films.labels[200:]
    loss = -np.log(np.where(truth, probabilities, 1 - probabilities)).mean()
    assert loss == pytest.approx(min(losses), abs=1e-4)


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    config = configuration()
    assert config.classify is not None
    films, features = problem(strength=1)
    features[5] = float("nan")
    learner = FeatureLearner(config.classify, nn.Identity(), features, films.labels)
    with pytest.raises(TrainingError, match="the loss became nan"):
        train(config, learner, [*range(200)], [*range(200, 240)], 0)
