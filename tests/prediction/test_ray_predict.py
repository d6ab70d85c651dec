"""Prediction on Ray Data gives the files that one process gives, also out of and into a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import write_tiny_bundle

from raycxr.sources.synth import write_pairs
from raycxr.storage.location import Location

pytestmark = pytest.mark.slow


def predict(*arguments: object) -> tuple[int, Any, str]:
    command = [sys.executable, "-c", "from raycxr.cli.main import main; main()", "predict", *map(str, arguments)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=300)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_it_writes_what_one_process_writes(tmp_path: Path, s3_folder: str) -> None:
    network = write_tiny_bundle(tmp_path / "network", "lungs", name="inverted_net", channels=(8, 4))
    films = Location(s3_folder) / "films"
    write_pairs(films, 20, 48, 0, lambda done, total: None)
    (films / "images" / "broken.png").write_bytes(b"junk")
    told = ["--format", "png,rle", network, films / "images", "--out"]
    status, here, log = predict(*told, tmp_path / "here", "--local")
    assert status == 0, log
    out = Location(s3_folder) / "out"
    status, there, log = predict(*told, out)
    assert status == 0, log
    assert "Traceback" not in log
    assert (there["images"], there["failed"]) == (here["images"], here["failed"]) == (20, 1)
    written = [*sorted((tmp_path / "here").rglob("*.png")), tmp_path / "here" / "run_lengths.csv"]
    assert len(written) == 21
    for path in written:
        assert (out / str(path.relative_to(tmp_path / "here"))).read_bytes() == path.read_bytes()


def test_what_a_process_of_the_pool_finds_wrong_arrives_as_one_line(tmp_path: Path) -> None:
    network = write_tiny_bundle(tmp_path / "network", "lungs", name="inverted_net", channels=(8, 4))
    write_pairs(Location(tmp_path / "films"), 3, 48, 0, lambda done, total: None)
    (network.local_path / "model.safetensors").write_bytes(b"damaged")
    status, answer, log = predict(network, tmp_path / "films" / "images", "--out", tmp_path / "out")
    assert status == 1
    assert "model.safetensors cannot be read" in answer["error"]["message"]
    assert "Traceback" not in log
