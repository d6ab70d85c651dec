"""Batch prediction: what is written is what the predictor says, nothing is done twice, and no film vanishes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_bundle import SIZE, write_tiny_bundle

from raycxr.cli.main import run
from raycxr.config.load import load_config
from raycxr.errors import DataError
from raycxr.postprocess.rule import apply_rules
from raycxr.prediction import batch_job
from raycxr.prediction.batch_job import JobSettings, Part, predict_all
from raycxr.prediction.inputs import list_inputs
from raycxr.prediction.job_settings import make_settings
from raycxr.prediction.part_predictor import PartPredictor, run_here
from raycxr.prediction.predictor import load_predictor
from raycxr.sources.synth import write_pairs
from raycxr.sources.synth_siim import write_siim_dicom
from raycxr.storage.location import Location
from raycxr.xray.intensity import IntensityRule
from raycxr.xray.resize import letterbox_image, undo_letterbox
from raycxr.xray.run_length import decode_run_lengths

CLASSES = ("lungs", "heart")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Location:
    return write_tiny_bundle(tmp_path_factory.mktemp("network"), *CLASSES, name="inverted_net", channels=(8, 4))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten films of other sizes than the network's, one of them no film."""
    folder = tmp_path_factory.mktemp("films")
    write_pairs(Location(folder), 10, 48, 0, lambda done, total: None)
    chosen = sorted((folder / "images").iterdir())
    wide = cv2.resize(np.asarray(cv2.imread(str(chosen[1]), cv2.IMREAD_GRAYSCALE)), (90, 60))
    cv2.imwrite(str(chosen[1]), wide)
    chosen[0].write_bytes(b"junk")
    return folder / "images"


def settings(network: Location, out: Path, *formats: str, batch_size: int = 4) -> JobSettings:
    made, classes = make_settings([network.uri], None, formats or ("png", "rle"), str(out), batch_size)
    assert classes == CLASSES
    return made


def quiet(done: int, total: int) -> None:
    pass


def test_what_is_written_is_what_the_predictor_says(network: Location, films: Path, tmp_path: Path) -> None:
    asked = settings(network, tmp_path / "out", "png", "rle", "overlay", "probability")
    summary = predict_all(list_inputs([str(films)]), asked, CLASSES, run_here, quiet)
    assert (summary.images, len(summary.failed)) == (9, 1)
    predictor = load_predictor([network], (), torch.device("cpu"))
    with (tmp_path / "out" / "run_lengths.csv").open() as file:
        texts = {(row["ImageId"], row["Class"]): row["EncodedPixels"] for row in csv.DictReader(file)}
    for path in sorted(films.iterdir())[1:]:
        film = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        square = letterbox_image(np.asarray(IntensityRule().apply(film)[0], np.uint8), SIZE)
        maps = undo_letterbox(predictor.predict(torch.from_numpy(square)[None]).masks[0].numpy(), *film.shape)
        for number, (name, mask) in enumerate(zip(CLASSES, apply_rules(predictor.bundles[0].rules, maps), strict=True)):
            written = cv2.imread(str(tmp_path / f"out/masks/{name}/{path.stem}.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(np.asarray(written), mask * np.uint8(255))
            assert np.array_equal(decode_run_lengths(texts[path.stem, name], *film.shape), mask)
            stored = cv2.imread(str(tmp_path / f"out/probabilities/{name}/{path.stem}.png"), cv2.IMREAD_UNCHANGED)
            assert np.abs(np.asarray(stored) / 65535 - maps[number]).max() < 1e-4
        drawn = cv2.imread(str(tmp_path / f"out/overlays/{path.stem}.png"))
        assert np.asarray(drawn).shape[1] == film.shape[1]


def test_one_bad_film_is_listed_and_the_rest_goes_on(
    network: Location, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", network.uri, str(films), "--out", str(tmp_path / "out"), "--format", "png", "--local"]
    assert run([*command, "--json"]) == 0
    answered = capsys.readouterr()
    document = json.loads(answered.out)
    assert (document["images"], document["failed"], document["skipped"]) == (9, 1, 0)
    assert "neither PNG, JPEG nor GIF" in document["failures"][0]["reason"]
    assert "failed: " in answered.err
    with (tmp_path / "out" / "films.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == ["failed"] + ["done"] * 9
    assert {(row["height"], row["width"]) for row in table[1:]} == {("60", "90"), ("48", "48")}
    assert not (tmp_path / "out" / "parts").exists()
    # The second call does the one that failed, and nothing else.
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 9


def test_a_killed_job_goes_on_where_it_was(
    network: Location, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_job, "PART_FILMS", 3)
    asked = settings(network, tmp_path / "out")
    todo = list_inputs([str(films)])

    def killed(parts: Sequence[Part], asked: JobSettings) -> Iterator[list[dict[str, Any]]]:
        predictor = PartPredictor(asked)
        yield predictor.predict(parts[0])
        predictor.predict(parts[1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_all(todo, asked, CLASSES, killed, quiet)
    assert not (tmp_path / "out" / "summary.json").exists()
    done: list[str] = []

    def rest(parts: Sequence[Part], asked: JobSettings) -> Iterator[list[dict[str, Any]]]:
        done.extend(film.name for part in parts for film in part.films)
        return run_here(parts, asked)

    summary = predict_all(todo, asked, CLASSES, rest, quiet)
    assert summary.images == 9
    assert summary.skipped == 5
    assert len(done) == 5
    assert not (tmp_path / "out" / "parts").exists()


def test_results_do_not_depend_on_the_batch(network: Location, films: Path, tmp_path: Path) -> None:
    for size in (1, 8):
        asked = settings(network, tmp_path / str(size), batch_size=size)
        predict_all(list_inputs([str(films)]), asked, CLASSES, run_here, quiet)
    written = [path.relative_to(tmp_path / "1") for path in sorted((tmp_path / "1").rglob("*.png"))]
    assert len(written) == 18
    for name in written:
        one, other = (np.asarray(cv2.imread(str(tmp_path / size / name), cv2.IMREAD_UNCHANGED)) for size in "18")
        assert (one == other).mean() > 0.999


def test_another_model_or_format_needs_another_folder(network: Location, films: Path, tmp_path: Path) -> None:
    todo = list_inputs([str(films)])
    predict_all(todo, settings(network, tmp_path / "out"), CLASSES, run_here, quiet)
    other = write_tiny_bundle(tmp_path / "other", *CLASSES, seed=4, name="inverted_net", channels=(8, 4))
    for asked in (settings(other, tmp_path / "out"), settings(network, tmp_path / "out", "overlay")):
        with pytest.raises(DataError, match="another model or in other formats"):
            predict_all(todo, asked, CLASSES, run_here, quiet)
    with pytest.raises(DataError, match="holds something else"):
        predict_all(todo, settings(network, films), CLASSES, run_here, quiet)


def test_films_of_a_data_set(network: Location, phantom_config: Path, tmp_path: Path) -> None:
    dataset = load_config(phantom_config).dataset_uri
    assert dataset is not None
    summary = predict_all(list_inputs([dataset]), settings(network, tmp_path / "out"), CLASSES, run_here, quiet)
    assert (summary.images, summary.failed) == (24, [])
    written = cv2.imread(str(next((tmp_path / "out/masks/lungs").iterdir())), cv2.IMREAD_UNCHANGED)
    assert np.asarray(written).shape == (64, 64)


def test_dicom_segmentations_of_dicom_films_alone(
    network: Location, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_siim_dicom(Location(tmp_path / "siim"), 3, 48, 0, lambda done, total: None)
    command = ["predict", network.uri, str(tmp_path / "siim"), "--format", "dicom-seg,png", "--local", "--json"]
    assert run([*command, "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
    assert len(list((tmp_path / "out" / "segmentations").rglob("*.dcm"))) == 3
    command[2] = str(films)
    assert run([*command, "--out", str(tmp_path / "none")]) == 1
    assert "no film could be predicted" in json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "pnd"], "format 'pnd' is unknown"),
        (["--format", ","], "no format is named"),
        (["--test-time", "sideways"], "sideways"),
    ],
)
def test_wrong_options(
    network: Location, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    command = ["predict", network.uri, str(films), "--out", str(tmp_path / "out"), "--local", "--json"]
    assert run([*command, *arguments]) == 2
    assert said in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (tmp_path / "out").exists()
