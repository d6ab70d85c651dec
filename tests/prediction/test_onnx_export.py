"""Exported networks give torch's probabilities, and what is said about them is enough to make masks without us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from tiny_bundle import write_tiny_bundle

from raycxr.cli.main import run
from raycxr.errors import DataError
from raycxr.postprocess.rule import apply_rules
from raycxr.prediction import onnx_export
from raycxr.prediction.onnx_export import FILMS, export_onnx
from raycxr.prediction.predictor import load_predictor
from raycxr.storage.location import Location
from raycxr.xray.intensity import IntensityRule
from raycxr.xray.phantom import draw_phantom
from raycxr.xray.resize import letterbox_image, undo_letterbox

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SCRIPT = Path(__file__).parents[2] / "scripts" / "run_onnx.py"


def test_any_size_and_number_of_films(tmp_path: Path) -> None:
    location = write_tiny_bundle(tmp_path, "lungs", name="inverted_net", channels=(8, 4))
    exported = export_onnx(location, Location(tmp_path / "model.onnx"), lambda line: None)
    assert exported.inputs == {"films": ["B", "H", "W"]}
    assert exported.outputs == {"probabilities": ["B", 1, "H", "W"]}
    assert exported.largest_difference < 1e-5
    session = InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    predictor = load_predictor([location], (), torch.device("cpu"))
    for shape in ((1, 32, 32), (4, 32, 32), (2, 48, 16)):
        films = torch.rand(shape, generator=torch.Generator().manual_seed(1))
        (found,) = session.run(None, {FILMS: films.numpy()})
        assert np.abs(found - predictor.predict(films).masks.numpy()).max() < 1e-5


def test_a_network_of_one_size_with_an_image_head(tmp_path: Path) -> None:
    location = write_tiny_bundle(tmp_path, "lungs", name="upernet", encoder="resnet18", image_head=True)
    told: list[str] = []
    exported = export_onnx(location, Location(tmp_path / "model.onnx"), told.append)
    assert "upernet can be written for films of 32 x 32 pixels alone" in told
    assert exported.inputs == {"films": ["B", 32, 32]}
    assert exported.outputs["image_probabilities"] == ["B", 1]
    session = InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    films = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    masks, images = session.run(None, {FILMS: films.numpy()})
    expected = load_predictor([location], (), torch.device("cpu")).predict(films)
    assert expected.images is not None
    assert np.abs(masks - expected.masks.numpy()).max() < 1e-5
    assert np.abs(images - expected.images.numpy()).max() < 1e-5


def test_the_example_makes_the_masks_that_we_make(tmp_path: Path) -> None:
    """From the command to masks by a script that knows neither torch nor this package."""
    location = write_tiny_bundle(tmp_path, "lungs", name="inverted_net", channels=(8, 4))
    assert run(["export", str(location.parent), "--out", str(tmp_path / "model.onnx")]) == 0
    drawn = draw_phantom(np.random.default_rng(7), 90).image[:, :64]
    film = np.rint(drawn * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "film.png"), film)
    text = "import sys; assert 'torch' not in sys.modules; exec(open(sys.argv.pop(1)).read())"
    arguments = [str(tmp_path / name) for name in ("model.onnx", "film.png", "out")]
    subprocess.run([sys.executable, "-c", text, str(SCRIPT), *arguments], check=True, cwd=tmp_path)
    found = cv2.imread(str(tmp_path / "out_lungs.png"), cv2.IMREAD_GRAYSCALE)
    assert found is not None
    predictor = load_predictor([location], (), torch.device("cpu"))
    levels, _ = IntensityRule("percentile").apply(film)
    prediction = predictor.predict(torch.from_numpy(letterbox_image(levels, 32))[None])
    maps = undo_letterbox(prediction.masks[0].numpy(), *film.shape)
    (expected,) = apply_rules(predictor.bundles[0].rules, maps)
    assert 0 < expected.mean() < 1
    assert ((found > 0) == expected).mean() > 0.999


def test_probabilities_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = write_tiny_bundle(tmp_path, "lungs", name="inverted_net", channels=(8, 4))
    monkeypatch.setattr(onnx_export, "TOLERANCE", 0.0)
    with pytest.raises(DataError, match="differ from torch's by"):
        export_onnx(location, Location(tmp_path / "model.onnx"), lambda line: None)
    assert not (tmp_path / "model.onnx").exists()


def test_it_answers_with_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = write_tiny_bundle(tmp_path, "lungs", name="inverted_net", channels=(8, 4))
    assert run(["export", location.uri, "--out", str(tmp_path / "model.onnx"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bytes"] == (tmp_path / "model.onnx").stat().st_size
    assert run(["export", str(tmp_path / "nowhere"), "--out", str(tmp_path / "other.onnx"), "--json"]) == 1
    assert "neither a bundle nor a run" in json.loads(capsys.readouterr().out)["error"]["message"]
