"""Several networks and several views under evaluation: what is averaged, told, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raycxr.cli.main import run as raycxr
from raycxr.config.evaluate import EvaluateSection
from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.errors import UsageError
from raycxr.evaluation.evaluate import Evaluation, evaluate_predictor
from raycxr.models.choices import build_model
from raycxr.prediction.bundle import load_model
from raycxr.prediction.predictor import load_predictor
from raycxr.prediction.target import normalise, target_kind
from raycxr.storage.location import Location
from raycxr.training.bundle import save_bundle
from raycxr.training.rule_search import training_rules
from raycxr.training.run import train, train_here

pytestmark = pytest.mark.filterwarnings("ignore")


def make_bundle(config_path: Path, place: Path, seed: int, *overrides: str) -> Location:
    """A bundle of random weights."""
    config = load_config(config_path, overrides)
    splits = open_splits(config)
    target = target_kind(config.dataset, splits.manifest.classes)
    torch.manual_seed(seed)
    model = build_model(config.model, 1, target.channels)
    # Logits far apart, so that a mean of probabilities differs from a mean of masks.
    weights = {name: value * 2 for name, value in model.state_dict().items()}
    means = {name: dict.fromkeys((*target.classes, "mean"), 0.0) for name in ("dice", "iou")}
    save_bundle(
        Location(place), weights, {"epoch": 1, "metrics": means}, config, target, splits, training_rules(config, target)
    )
    return Location(place)


@pytest.fixture(scope="module")
def bundles(phantom_config: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Location]:
    folder = tmp_path_factory.mktemp("bundles")
    one = make_bundle(phantom_config, folder / "one", 1)
    return [one, make_bundle(phantom_config, folder / "two", 2, "model.channels=[4, 8, 4]")]


def evaluate(bundles: list[Location], *test_time: str, split: str = "test") -> Evaluation:
    section = EvaluateSection(resolution="dataset", surface_distances=False)
    predictor = load_predictor(bundles, test_time, torch.device("cpu"))
    return evaluate_predictor(predictor, None, split, section, print, lambda done, total: None)


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    status = raycxr([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_masks_of_an_ensemble_are_those_of_the_mean(bundles: list[Location]) -> None:
    evaluation = evaluate(bundles)
    assert len(evaluation.worst) == len(evaluation.films)
    for _, picture in evaluation.worst:
        with torch.no_grad():
            images = normalise(torch.from_numpy(picture.image)[None])
            networks = [load_model(bundle)[0] for bundle in bundles]
            mean = sum(network(images).sigmoid() for network in networks) / 2
        assert isinstance(mean, torch.Tensor)
        assert np.array_equal(picture.predicted, mean[0].numpy() > 0.5)
    alone = [evaluate([bundle]) for bundle in bundles]
    together = evaluate(bundles)
    assert together.films[0].values != alone[0].films[0].values != alone[1].films[0].values


def test_views_change_the_figures(bundles: list[Location]) -> None:
    plain, mirrored = evaluate(bundles[:1]), evaluate(bundles[:1], "horizontal_flip", "scale_0.75")
    assert [film.id for film in plain.films] == [film.id for film in mirrored.films]
    assert [film.values for film in plain.films] != [film.values for film in mirrored.films]


def test_the_command_line(capsys: pytest.CaptureFixture[str], bundles: list[Location], tmp_path: Path) -> None:
    one, two = (bundle.uri for bundle in bundles)
    options = ["--test-time", "horizontal_flip,scale_0.75", "--test-time", "vertical_flip", "--out", tmp_path]
    status, document = answer(capsys, "evaluate", one, "--also", two, *options)
    assert status == 0
    assert document["bundles"] == [one, two]
    assert document["test_time"] == ["horizontal_flip", "scale_0.75", "vertical_flip"]
    assert json.loads((tmp_path / "summary.json").read_text())["bundles"] == [one, two]
    page = (tmp_path / "report.html").read_text()
    assert "mean of 2 networks, horizontal flip, scale 0.75, vertical flip" in page
    assert two in page


def test_the_views_of_the_configuration_and_how_to_leave_them_out(
    capsys: pytest.CaptureFixture[str], phantom_config: Path, tmp_path: Path
) -> None:
    bundle = make_bundle(phantom_config, tmp_path / "own", 1, "evaluate.test_time=[horizontal_flip]")
    assert answer(capsys, "evaluate", bundle)[1]["test_time"] == ["horizontal_flip"]
    assert answer(capsys, "evaluate", bundle, "--test-time", "none")[1]["test_time"] == []
    status, document = answer(capsys, "evaluate", bundle, "--test-time", "flip")
    assert status == 2
    assert "choose horizontal_flip, vertical_flip or a scale" in document["error"]["message"]


def test_checkpoints_in_place_of_the_best_bundle(
    capsys: pytest.CaptureFixture[str], phantom_config: Path, tmp_path: Path
) -> None:
    overrides = [f"storage.uri={tmp_path}", "train.name=kept", "train.epochs=3", "train.num_to_keep=2"]
    run = Location(
        train(load_config(phantom_config, overrides), phantom_config, None, train_here, lambda line: None).run
    )
    status, document = answer(capsys, "evaluate", run, "--checkpoints", 2)
    assert status == 0
    assert len(document["bundles"]) == 2
    assert all(uri.startswith(f"{run.uri}/checkpoint_") for uri in document["bundles"])
    _, alone = answer(capsys, "evaluate", document["bundles"][0])
    _, best = answer(capsys, "evaluate", run)
    assert alone["results"] == best["results"]
    status, document = answer(capsys, "evaluate", run, "--checkpoints", 9)
    assert status == 2
    assert "has not kept the checkpoints of its 9 best epochs" in document["error"]["message"]


def test_films_that_a_fold_was_trained_on_are_not_unseen(phantom_config: Path, tmp_path: Path) -> None:
    folds = [
        make_bundle(
            phantom_config, tmp_path / str(fold), fold, f"dataset.split={{rule: k-fold, folds: 3, fold: {fold}}}"
        )
        for fold in (1, 2)
    ]
    with pytest.raises(UsageError, match=r"was trained on \d+ of the 8 test films"):
        evaluate(folds)
    assert len(evaluate(folds, split="all").films) == 24
    assert len(evaluate(folds[:1]).films) == 8
