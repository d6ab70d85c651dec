"""The search at the end of a run: what the bundle says afterwards, and what it is good for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raycxr.config.evaluate import EvaluateSection
from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.films import open_splits
from raycxr.dataset.ingest import ingest, run_here
from raycxr.errors import ConfigurationError, DataError
from raycxr.evaluation.evaluate import evaluate_predictor
from raycxr.prediction.bundle import load_model
from raycxr.prediction.predictor import load_predictor
from raycxr.runs.bundle import MARKER, POSTPROCESS, WEIGHTS, read_bundle
from raycxr.runs.record import BEST, read_history
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.loop import run_training
from raycxr.training.rule_search import SCORE
from raycxr.training.session import LocalSession

SEARCH = ("postprocess.search=true", "postprocess.threshold=0.9", "postprocess.components=2")


def train(config: Path, run: Path, *overrides: str, resume: bool = False) -> Config:
    settings = load_config(config, ["train.epochs=3", *overrides])
    check_trainable_config(settings, open_splits(settings), workers=1)
    session = LocalSession(Location(run), 1, "max", resume=resume)
    run_training(settings, Location(run), session, cpus=1)
    return settings


def postprocess(run: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((run / BEST / POSTPROCESS).read_text())
    return document


def validation_dice(run: Path, test_time: tuple[str, ...] | None = None) -> dict[str, float]:
    """Dice of the bundle on the validation films at the size of the data set, with its own views where none is said."""
    section = EvaluateSection(resolution="dataset", surface_distances=False)
    evaluation = evaluate_predictor(
        load_predictor([Location(run / BEST)], test_time), None, "validation", section, print, lambda done, total: None
    )
    return {
        name: float(np.mean([film.values["dice"][name] for film in evaluation.films])) for name in evaluation.classes
    }


def test_the_best_bundle_gets_the_rules_found(
    phantom_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, searched = tmp_path / "plain", tmp_path / "searched"
    train(phantom_config, plain, "postprocess.threshold=0.9")
    before = validation_dice(plain)
    capsys.readouterr()
    train(phantom_config, searched, "postprocess.search=true", "postprocess.threshold=0.9")
    told = capsys.readouterr().err
    found = postprocess(searched)
    assert found["search"]["films"] == 4
    assert found["search"]["grid"]["threshold"][0] == 0.05
    assert "search" not in postprocess(plain)
    after = validation_dice(searched)
    for name in ("lungs", "heart", "clavicles"):
        assert found["search"]["before"][name] == pytest.approx(before[name], abs=1e-9)
        assert found["search"]["after"][name] == pytest.approx(after[name], abs=1e-9)
    assert found["search"]["after"]["mean"] > found["search"]["before"]["mean"]
    assert f"validation Dice {found['search']['before']['mean']:.4f} -> {found['search']['after']['mean']:.4f}" in told
    bundle = read_bundle(Location(searched / BEST))
    assert bundle.metrics[SCORE] == found["search"]["after"]
    assert f"* lungs: {bundle.rules[0]}" in (searched / BEST / "README.md").read_text()
    # Nothing but the rules and their score has changed.
    assert (plain / BEST / WEIGHTS).read_bytes() == (searched / BEST / WEIGHTS).read_bytes()
    assert {name: bundle.metrics[name] for name in bundle.metrics if name != SCORE} == read_bundle(
        Location(plain / BEST)
    ).metrics


def test_the_search_sees_the_views_that_evaluation_takes(phantom_config: Path, tmp_path: Path) -> None:
    train(phantom_config, tmp_path, "evaluate.test_time=[horizontal_flip, scale_1.5]", "postprocess.search=true")
    found = postprocess(tmp_path)["search"]["after"]
    with_views, plain = validation_dice(tmp_path), validation_dice(tmp_path, ())
    for name in ("lungs", "heart", "clavicles"):
        assert found[name] == pytest.approx(with_views[name], abs=1e-9)
    assert any(found[name] != pytest.approx(plain[name], abs=1e-9) for name in plain)


def test_a_triplet_is_searched_class_by_class(phantom_config: Path, tmp_path: Path) -> None:
    overrides = ["postprocess.search=true", "postprocess.triplet={}", "postprocess.classes.heart.threshold=0.5"]
    train(phantom_config, tmp_path, *overrides)
    lungs, heart, clavicles = read_bundle(Location(tmp_path / BEST)).rules
    assert (lungs.kind, heart.kind, clavicles.kind) == ("triplet", "threshold", "triplet")
    after = validation_dice(tmp_path)
    assert postprocess(tmp_path)["search"]["after"]["clavicles"] == pytest.approx(after["clavicles"], abs=1e-9)


def test_areas_are_shares_of_the_film_without_its_padding(phantom_config: Path, tmp_path: Path) -> None:
    """Films half as high as wide fill half of their square; the rule asks for a third of the film."""
    write_wide_films(tmp_path / "films", 8)
    config = tmp_path / "wide.yaml"
    config.write_text(
        f"extends: {phantom_config}\n"
        f"ingest: {{source: pairs, images: {tmp_path}/films/images, masks: {tmp_path}/films/masks, classes: null,"
        f" intensity: {{rule: keep}}, out: {tmp_path}/data}}\n"
        "dataset: {split: {train: 4, validation: 3, test: 1}}\n"
    )
    ingest(load_config(config), run_here, lambda done, total: None)
    grid = "postprocess.grid={top: [0.05], area: [0.33], bottom: [0.05]}"
    triplet = "postprocess.triplet={top: 0.99, area: 1.0, bottom: 0.99}"
    train(config, tmp_path / "run", "postprocess.search=true", grid, triplet, "train.epochs=20")
    found = postprocess(tmp_path / "run")["search"]
    assert found["before"]["lungs"] == 0.0
    assert found["after"]["lungs"] > 0.5
    assert found["after"]["lungs"] == pytest.approx(validation_dice(tmp_path / "run")["lungs"], abs=1e-9)
    section = EvaluateSection(resolution="dataset", surface_distances=False, overlays=8)
    evaluation = evaluate_predictor(
        load_predictor([Location(tmp_path / "run" / BEST)]), None, "all", section, print, lambda done, total: None
    )
    assert len(evaluation.worst) == 8
    for _, film in evaluation.worst:
        assert film.predicted[:, 8:24].mean() > 1 / 3
        assert not film.predicted[:, :8].any()
        assert not film.predicted[:, 24:].any()


def write_wide_films(folder: Path, count: int) -> None:
    """Films of 32 x 64 pixels whose bright left half is the lungs."""
    random = np.random.default_rng(0)
    mask = np.zeros((32, 64), np.uint8)
    mask[:, :32] = 255
    for number in range(count):
        film = (60 + mask // 2 + random.integers(0, 20, mask.shape)).astype(np.uint8)
        for kind, pixels in {"images": film, "masks": mask}.items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"film{number}.png")


def test_a_finished_run_is_searched_when_it_is_resumed(phantom_config: Path, tmp_path: Path) -> None:
    overrides = ["postprocess.threshold=0.9"]
    train(phantom_config, tmp_path, *overrides)
    weights = (tmp_path / BEST / WEIGHTS).read_bytes()
    train(phantom_config, tmp_path, *SEARCH, resume=True)
    first = postprocess(tmp_path)
    assert first["search"]["films"] == 4
    assert all(rule["components"] == 2 for rule in first["rules"].values())
    train(phantom_config, tmp_path, *SEARCH, resume=True)
    assert postprocess(tmp_path) == first
    assert (tmp_path / BEST / WEIGHTS).read_bytes() == weights
    assert len(read_history(Location(tmp_path))) == 3


def test_a_bundle_that_was_being_replaced_is_written_again(phantom_config: Path, tmp_path: Path) -> None:
    """The best epoch is the last but one, so that its weights are in an earlier checkpoint."""
    overrides = ["optimizer.lr=0.05", "schedule.name=constant", "train.epochs=50", "train.patience=1", *SEARCH]
    train(phantom_config, tmp_path, *overrides)
    best = read_bundle(Location(tmp_path / BEST)).epoch
    assert len(read_history(Location(tmp_path))) == best + 1
    whole = {name: (tmp_path / BEST / name).read_bytes() for name in (WEIGHTS, POSTPROCESS)}
    (tmp_path / BEST / MARKER).unlink()
    (tmp_path / BEST / WEIGHTS).write_bytes(b"cut short")
    with pytest.raises(DataError):
        load_model(Location(tmp_path / BEST))
    train(phantom_config, tmp_path, *overrides, resume=True)
    assert read_bundle(Location(tmp_path / BEST)).epoch == best
    assert {name: (tmp_path / BEST / name).read_bytes() for name in whole} == whole


def test_rules_that_do_not_fit_are_refused_before_training(phantom_config: Path) -> None:
    for override, message in {
        "postprocess.classes={lung: {components: 2}}": "choose from lungs, heart, clavicles",
        "postprocess.image_threshold=0.3": "no image head",
    }.items():
        config = load_config(phantom_config, [override])
        with pytest.raises(ConfigurationError, match=message):
            check_trainable_config(config, open_splits(config), workers=1)
    config = load_config(
        phantom_config, ["dataset.target=multiclass", "loss={cross_entropy: 1}", "postprocess.search=true"]
    )
    with pytest.raises(ConfigurationError, match="most probable class counts"):
        check_trainable_config(config, open_splits(config), workers=1)
