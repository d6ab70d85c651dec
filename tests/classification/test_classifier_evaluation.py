"""A classifier measured on another data set: its files, its precision, and what it is told of the films."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raycxr.classification.evaluate import evaluate_classifier
from raycxr.cli.main import run
from raycxr.storage.location import Location

pytestmark = pytest.mark.filterwarnings("ignore")


def evaluate(bundle: Location, data: Path) -> tuple[dict[str, Any], list[str]]:
    """Result, and the lines told."""
    told: list[str] = []
    return evaluate_classifier(bundle, str(data), "all", None, told.append, lambda done, total: None), told


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = run([*map(str, arguments), "--json"])
    error: str = json.loads(capsys.readouterr().out)["error"]["message"]
    return status, error


def test_the_files_of_an_evaluation(
    capsys: pytest.CaptureFixture[str], write_classifier: Callable[..., Location], montgomery: Path, tmp_path: Path
) -> None:
    bundle, out = write_classifier(tmp_path / "bundle"), tmp_path / "out"
    assert run(["evaluate", bundle.uri, str(montgomery), "--split", "all", "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    for name in ("films.csv", "summary.json", "report.html"):
        assert f"wrote {out / name}" in captured.err
    document = json.loads(captured.out)
    assert document["results"][0]["seen_in_training"] == {}
    assert json.loads((out / "summary.json").read_text()) == document
    rows = list(csv.DictReader(io.StringIO((out / "films.csv").read_text())))
    assert len(rows) == 12
    page = (out / "report.html").read_text()
    assert "on the films of all splits" in page
    assert str(montgomery) in page
    # Nothing is divided into folds here.
    assert "fold" not in page
    mistakes = Counter(row["label"] for row in rows if (float(row["probability"]) > 0.5) != (row["label"] == "1"))
    assert page.count("<figure>") == sum(min(films, 2) for films in mistakes.values()) > 0


def test_what_a_classifier_has_no_use_for_is_refused(
    capsys: pytest.CaptureFixture[str],
    write_classifier: Callable[..., Location],
    montgomery: Path,
    tb_config: Path,
    tmp_path: Path,
) -> None:
    bundle = write_classifier(tmp_path / "bundle")
    for option, value in (("--resolution", "original"), ("--test-time", "horizontal_flip"), ("--test-time", "none")):
        status, message = refusal(capsys, "evaluate", bundle, montgomery, option, value)
        assert (status, message.split()[0]) == (2, option)
    # Before anything is measured: even this data set, which would be refused itself, is not looked at.
    (tmp_path / "file").write_text("")
    status, message = refusal(capsys, "evaluate", bundle, tb_config.parent / "data", "--out", tmp_path / "file" / "out")
    assert status == 1
    assert str(tmp_path / "file") in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in fp16")
def test_a_classifier_trained_in_fp16_is_measured_on_a_cpu(
    write_classifier: Callable[..., Location], montgomery: Path, tmp_path: Path
) -> None:
    half = write_classifier(tmp_path / "half", "classify.frozen=false", "train.precision=fp16")
    result, _ = evaluate(half, montgomery)
    assert result["images"] == 12


def test_other_grey_levels_are_told_in_one_line(
    write_classifier: Callable[..., Location], montgomery: Path, tmp_path: Path
) -> None:
    bundle = write_classifier(tmp_path / "bundle")
    _, told = evaluate(bundle, montgomery)
    assert told == []
    other = Path(shutil.copytree(montgomery, tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text())
    for low, lines in ((0.5, 0), (2.0, 1)):  # 0.5 is the default, said or not
        manifest["intensity"]["low"] = low
        (other / "manifest.json").write_text(json.dumps(manifest))
        _, told = evaluate(bundle, other)
        assert len(told) == lines
    assert told == [
        f"grey levels differ: {other} was ingested with percentile 2 to 99.5, {bundle} was trained on percentile 0.5 "
        "to 99.5"
    ]


def test_films_seen_by_an_encoder_out_of_a_bundle(
    write_segmentation: Callable[..., Location],
    write_classifier: Callable[..., Location],
    montgomery: Path,
    tmp_path: Path,
) -> None:
    own = write_segmentation(tmp_path / "own", f"dataset.uri={montgomery}")
    bundle = write_classifier(tmp_path / "bundle", "classify.encoder=null", f"classify.bundle={own}")
    result, _ = evaluate(bundle, montgomery)
    assert 0 < result["seen_in_training"]["encoder"] <= 12
    shutil.rmtree(tmp_path / "own")
    assert evaluate(bundle, montgomery)[0]["seen_in_training"] == {"encoder": None}
