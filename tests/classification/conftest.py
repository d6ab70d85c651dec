"""A small ingested set of tuberculosis phantoms from two sources, some without masks, and bundles of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from raycxr.classification.bundle import save_classifier
from raycxr.classification.encoder import feature_maps, load_encoder
from raycxr.classification.labels import labelled_films
from raycxr.classification.network import Classifier, build_head
from raycxr.classification.summary import figures_of
from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.dataset.ingest import ingest, run_here
from raycxr.models.choices import build_model
from raycxr.prediction.target import target_kind
from raycxr.sources.synth_tb import write_montgomery, write_tb_mirror
from raycxr.storage.location import Location
from raycxr.training.bundle import save_bundle
from raycxr.training.rule_search import training_rules


@pytest.fixture(scope="session")
def tb_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration of a frozen classifier over 48 films of 64 pixels, ingested: 8 of Montgomery, 40 of Shenzhen."""
    folder = tmp_path_factory.mktemp("tb")
    write_tb_mirror(Location(folder / "films"), 48, 64, 0, lambda done, total: None)
    path = folder / "tb.yaml"
    path.write_text(
        f"""
ingest: {{source: tb-mirror, images: {folder / "films"}, size: 64, out: {folder / "data"}}}
model: {{name: classic_unet, base_channels: 4}}
classify:
  label: tuberculosis
  encoder: resnet18
  hidden: [16]
  epochs: 6
  batch_size: 16
  validation: {{folds: 2}}
optimizer: {{lr: 0.003}}
train: {{epochs: 1, batch_size: 8, precision: fp32, loader_workers: 0}}
evaluate: {{bootstrap: 50, overlays: 2}}
tracking: {{tensorboard: false}}
storage: {{uri: {folder / "runs"}}}
"""
    )
    ingest(load_config(path), run_here, lambda done, total: None)
    return path


@pytest.fixture(scope="session")
def montgomery(tb_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another data set with the same label, of 12 films."""
    folder = tmp_path_factory.mktemp("montgomery")
    write_montgomery(Location(folder / "films"), 12, 64, 7, lambda done, total: None)
    values = {"ingest.source": "montgomery", "ingest.images": folder / "films", "ingest.out": folder / "data"}
    overrides = [f"{key}={value}" for key, value in values.items()]
    ingest(load_config(tb_config, overrides), run_here, lambda done, total: None)
    return folder / "data"


@pytest.fixture
def write_segmentation(tb_config: Path) -> Callable[..., Location]:
    """Writes the bundle of a network of random weights to a place; overrides follow."""

    def write(place: Path, *overrides: str) -> Location:
        config = load_config(tb_config, ["classify=null", *overrides])
        splits = open_splits(config)
        target = target_kind(config.dataset, splits.manifest.classes)
        torch.manual_seed(0)
        weights = build_model(config.model, 1, target.channels).state_dict()
        means = {name: dict.fromkeys((*target.classes, "mean"), 0.0) for name in ("dice", "iou")}
        rules = training_rules(config, target)
        save_bundle(Location(place), weights, {"epoch": 1, "metrics": means}, config, target, splits, rules)
        return Location(place)

    return write


@pytest.fixture
def write_classifier(tb_config: Path) -> Callable[..., Location]:
    """Writes the bundle of a classifier of random weights, with the figures of chance; overrides follow."""

    def write(place: Path, *overrides: str) -> Location:
        config = load_config(tb_config, overrides)
        section = config.classify
        assert section is not None
        films = labelled_films(open_splits(config), section.label)
        torch.manual_seed(0)
        encoder, bundle = load_encoder(section)
        if bundle is not None:
            config = config.model_copy(update={"model": bundle.config.model})
        model = Classifier(
            encoder, build_head(section, feature_maps(encoder, films.size)), section.pooling, section.frozen
        )
        chance = np.random.default_rng(0).random(len(films))
        figures = figures_of(films, chance, section.threshold, 10)
        metrics = {"epoch": 1, "epochs": 1, **figures, "folds": [], "seen_in_training": {}}
        save_classifier(Location(place), model, None, metrics, config, films)
        return Location(place)

    return write
