"""`raycxr report` as a user or a program meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_sweep import MadeSweep, MadeTrial, example, write_sweep

from raycxr.cli.main import run
from raycxr.storage.location import Location


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    write_sweep(Location(tmp_path / "tb"), example(12))
    return tmp_path / "tb"


def test_the_document(capsys: pytest.CaptureFixture[str], sweep: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "tb.html"
    assert run(["report", str(sweep), "--out", str(page), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["report"], document["sweep"], document["trials"]) == (str(page), str(sweep), 12)
    best = document["best"]
    record = json.loads((Path(best["run"]) / "run.json").read_text())
    assert best["parameters"] == record["trial"]["parameters"]
    assert 0.9 < best["value"] < 1
    assert captured.err == f"wrote {page}\n"
    assert page.read_text().startswith("<!doctype html>")
    assert Path(best["run"]).name in page.read_text()


def test_text_for_people(capsys: pytest.CaptureFixture[str], sweep: Path, tmp_path: Path) -> None:
    assert run(["report", str(sweep), "--out", str(tmp_path / "tb.html")]) == 0
    assert capsys.readouterr().out.startswith("best of 12: trial-00")


def test_a_sweep_without_a_value(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_sweep(Location(tmp_path / "tb"), MadeSweep([MadeTrial(0, {}, [], "running")]))
    assert run(["report", str(tmp_path / "tb"), "--out", str(tmp_path / "tb.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["best"] is None


def test_a_place_that_is_no_sweep(capsys: pytest.CaptureFixture[str], sweep: Path, tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", sweep / "trial-0000"):
        assert run(["report", str(place), "--out", str(tmp_path / "tb.html")]) == 1
        captured = capsys.readouterr()
        assert captured.err.startswith(f"raycxr: {place} is no sweep: no sweep.json\n")
        assert "Traceback" not in captured.err
        assert captured.out == ""
    assert not (tmp_path / "tb.html").exists()


def test_out_is_needed(capsys: pytest.CaptureFixture[str], sweep: Path) -> None:
    assert run(["report", str(sweep)]) == 2
    assert "--out" in capsys.readouterr().err


def test_out_cannot_be_a_folder(capsys: pytest.CaptureFixture[str], sweep: Path, tmp_path: Path) -> None:
    assert run(["report", str(sweep), "--out", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.slow
def test_in_a_bucket(capsys: pytest.CaptureFixture[str], s3_folder: str) -> None:
    write_sweep(Location(f"{s3_folder}/tb"), example(4))
    assert run(["report", f"{s3_folder}/tb", "--out", f"{s3_folder}/tb.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == f"{s3_folder}/tb.html"
    assert "All trials" in Location(f"{s3_folder}/tb.html").read_text()


@pytest.mark.slow
def test_neither_torch_nor_ray(sweep: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom raycxr.cli.main import run\n"
        f"assert run(['report', {str(sweep)!r}, '--out', {str(tmp_path / 'tb.html')!r}]) == 0\n"
        "assert not {'torch', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
