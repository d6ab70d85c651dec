"""A classifier from the command line: its run, its bundle, its report, and every mistake in one line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from raycxr.cli.main import run
from raycxr.config.load import load_config
from raycxr.dataset.films import open_splits
from raycxr.runs.bundle import read_bundle
from raycxr.storage.location import Location

pytestmark = pytest.mark.filterwarnings("ignore")


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Any, str]:
    """Answer and what was told beside it."""
    status = run([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out), captured.err


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    status = run([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert status in (1, 2)
    assert "Traceback" not in captured.err
    error = json.loads(captured.out)["error"]
    assert error["remedy"]
    assert "\n" not in error["message"]
    return f"{error['message']} - {error['remedy']}"


@pytest.fixture(scope="module")
def segmentation(tb_config: Path) -> Path:
    """Bundle of a lung segmentation of one epoch."""
    name = "train.name=lungs"
    assert run(["train", str(tb_config), name, "classify=null", "train.metric=loss", "--local"]) == 0
    return tb_config.parent / "runs" / "lungs"


@pytest.mark.slow
def test_from_films_to_a_measured_bundle(
    capsys: pytest.CaptureFixture[str], tb_config: Path, montgomery: Path, tmp_path: Path
) -> None:
    trained, told = call(capsys, "train", tb_config, "train.name=frozen")
    folder = tb_config.parent / "runs" / "frozen"
    assert set(trained) == {"run", "bundle", "epochs", "best_epoch", "metrics"}
    assert (trained["run"], trained["bundle"]) == (str(folder), str(folder / "best"))
    assert "trained before" not in (folder / "report.html").read_text()
    assert "48 films, 512 maps each, computed" in told

    rows = list(csv.DictReader(io.StringIO((folder / "films.csv").read_text())))
    # Films without a mask count too.
    assert len({row["id"] for row in rows}) == 48
    assert {row["fold"] for row in rows} == {"fold 1", "fold 2"}
    assert {row["source"] for row in rows} == {"montgomery", "shenzhen"}
    labels, probabilities = ([float(row[name]) for row in rows] for name in ("label", "probability"))
    assert all(row["id"].endswith(row["label"]) for row in rows)
    assert trained["metrics"]["auc"]["mean"] == pytest.approx(roc_auc_score(labels, probabilities))
    called = np.array(probabilities) > 0.5
    assert trained["metrics"]["accuracy"]["tuberculosis"] == pytest.approx(accuracy_score(labels, called))

    record = json.loads((folder / "run.json").read_text())
    assert (record["kind"], record["status"]) == ("classify", "finished")
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [entry["fold"] for entry in history if entry["epoch"] == 1] == ["fold 1", "fold 2", None]
    page = (folder / "report.html").read_text()
    assert page.count("data:image/jpeg;base64") >= 1
    assert "http" not in page
    assert "AUC" in (folder / "best" / "README.md").read_text()

    listed, _ = call(capsys, "runs", folder, "--metric", "auc")
    assert [(entry["model"], entry["epochs"]) for entry in listed] == [("classifier resnet18", trained["epochs"])]
    pulled, _ = call(capsys, "pull", folder, tmp_path / "pulled", "--metric", "auc")
    assert pulled["value"] == pytest.approx(trained["metrics"]["auc"]["mean"])
    result = call(capsys, "evaluate", tmp_path / "pulled", montgomery, "--split", "all", "--out", tmp_path / "out")[0]
    assert result["results"][0]["images"] == 12
    assert set(result["results"][0]["metrics"]) == {"accuracy", "precision", "recall", "f1", "auc"}
    assert len((tmp_path / "out" / "films.csv").read_text().splitlines()) == 13

    again, told = call(capsys, "train", tb_config, "train.name=again")
    assert "from the cache" in told
    assert again["metrics"] == trained["metrics"]
    assert (folder.parent / "again" / "films.csv").read_text() == (folder / "films.csv").read_text()
    weights = [folder.parent / name / "best" / "model.safetensors" for name in ("frozen", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()

    assert "trained on all films of its own data set" in refusal(capsys, "evaluate", folder)
    assert "out of fold" in refusal(capsys, "evaluate", folder, tb_config.parent / "data")
    assert "classifies whole films" in refusal(capsys, "train", tb_config, "classify.encoder=null",
                                               f"classify.bundle={folder}")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("use", ["crop", "mask"])
def test_on_the_encoder_of_a_segmentation_and_on_its_lungs(
    capsys: pytest.CaptureFixture[str], tb_config: Path, segmentation: Path, montgomery: Path, tmp_path: Path, use: str
) -> None:
    # The bundle stands for itself: that of the segmentation may be gone when it is used.
    source = Path(shutil.copytree(segmentation, tmp_path / "lungs"))
    postprocess = source / "best" / "postprocess.json"
    postprocess.write_text(postprocess.read_text().replace('"low": null', '"low": 2.0'))
    lungs = f"classify.lungs={{bundle: {source}, use: {use}}}"
    trained, told = call(
        capsys, "train", tb_config, "classify.encoder=null", f"classify.bundle={source}", lungs,
        "classify.validation.rule=source", "classify.validation_fraction=0.3", f"train.name=on-lungs-{use}",
    )  # fmt: skip
    assert "64 maps each" in told
    assert told.count("grey levels differ") == 1
    metrics = json.loads((Path(trained["bundle"]) / "metrics.json").read_text())
    assert [fold["name"] for fold in metrics["folds"]] == ["montgomery", "shenzhen"]
    films = len(open_splits(load_config(tb_config)).annotated("train"))
    assert metrics["seen_in_training"] == {"encoder": films, "lung_finder": films}
    for file in (Path(trained["run"]) / "report.html", Path(trained["bundle"]) / "README.md"):
        assert (
            f"the encoder had seen {films}, the lung finder had seen {films} of the 48 films tested here"
            in file.read_text()
        )
    assert read_bundle(Location(trained["bundle"])).config.model.name == "classic_unet"
    shutil.rmtree(source)
    result, _ = call(capsys, "evaluate", trained["run"], montgomery, "--split", "all")
    assert result["results"][0]["images"] == 12


@pytest.mark.slow
def test_an_encoder_that_is_trained_as_well(
    capsys: pytest.CaptureFixture[str], tb_config: Path, montgomery: Path
) -> None:
    trained, told = call(capsys, "train", tb_config, "classify.frozen=false", "classify.epochs=1", "train.name=tuned")
    assert trained["epochs"] == 1
    assert "fold 2: epoch 1/1" in told
    history = (tb_config.parent / "runs" / "tuned" / "history.jsonl").read_text().splitlines()
    assert len(history) == 3
    result, _ = call(capsys, "evaluate", trained["bundle"], montgomery, "--split", "all")
    assert result["results"][0]["images"] == 12


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["classify.label=pneumonia"], "choose classify.label from tuberculosis (48 films)"),
        (["classify.validation.folds=40"], "fewer than the 40 folds"),
        (["classify.encoder=resnet19"], "classify.encoder = 'resnet19' is not an encoder"),
        (["classify.encoder=null", "classify.bundle=/nowhere"], "/nowhere is neither a bundle nor a run"),
        (["classify.lungs={bundle: /nowhere}"], "/nowhere is neither a bundle nor a run"),
        (["resources.workers=2"], "a classifier is trained in one process"),
        (["--resume", "frozen"], "a classifier's run is not resumed"),
        (["classify.encoder_weights=/nowhere/w.safetensors"], "/nowhere/w.safetensors"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], tb_config: Path, overrides: list[str], part: str) -> None:
    assert part in refusal(capsys, "train", tb_config, "train.name=mistake", *overrides)
    assert not (tb_config.parent / "runs" / "mistake").exists()


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        ({"tuberculosis": 1}, "all 48 films of"),
        ({"tuberculosis": 2}, "takes the value 2"),
        ({}, "its films have no labels"),
    ],
)
def test_labels_that_teach_nothing(
    capsys: pytest.CaptureFixture[str], tb_config: Path, tmp_path: Path, labels: dict[str, int], part: str
) -> None:
    data = Path(shutil.copytree(tb_config.parent / "data", tmp_path / "data"))
    table = pq.read_table(data / "index.parquet")
    column = pa.array([json.dumps(labels)] * table.num_rows)
    changed = table.set_column(table.schema.get_field_index("labels"), "labels", column)
    pq.write_table(changed, data / "index.parquet")
    assert part in refusal(capsys, "train", tb_config, f"dataset.uri={data}", "train.name=mistake")
