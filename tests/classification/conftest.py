"""A small ingested set of tuberculosis phantoms from two sources, some without masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.config.load import load_config
from raycxr.dataset.ingest import ingest, run_here
from raycxr.sources.synth_tb import write_tb_mirror
from raycxr.storage.location import Location


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
