"""`raycxr inspect` as a user or a program meets it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raycxr.cli.main import run
from raycxr.storage.location import Location

KEYS = {"id", "images", "classes", "annotated", "positive", "splits", "rejects"}


@pytest.fixture
def data(phantom_config: Path) -> Path:
    return phantom_config.parent / "data"


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, str]:
    assert run(["inspect", *map(str, arguments), "--json"]) == 1
    captured = capsys.readouterr()
    error: dict[str, str] = json.loads(captured.out)["error"]
    assert [line for line in captured.err.splitlines() if line.startswith("raycxr: ")] == [
        f"raycxr: {error['message']}"
    ]
    assert "\n" not in error["message"]
    assert error["remedy"]
    return error


def test_the_document(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    document = answer(capsys, data)
    assert set(document) >= KEYS
    assert document["id"] == json.loads((data / "manifest.json").read_text())["id"]
    assert document["images"] == document["annotated"] == 24
    assert document["classes"] == ["lungs", "heart", "clavicles"]
    assert document["positive"] == {"lungs": 24, "heart": 24, "clavicles": 24}
    assert document["splits"] == {"train": 16, "validation": 4, "test": 4}
    assert document["rejects"] == {}
    assert sum(document["labels"]["nodule"].values()) == 24
    assert document["intensities"]["films"] == 24


def test_text_for_people(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert run(["inspect", str(data)]) == 0
    out = capsys.readouterr().out
    assert "24 + 0 rejected = 24 listed, of 24 patients" in out
    assert "clavicles" in out
    assert "validation" in out


def test_the_page_is_written_and_the_same_again(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    document = answer(capsys, data, "--html", tmp_path / "new" / "a.html", "--films", 5)
    assert document["intensities"]["films"] == 5
    assert run(["inspect", str(data), "--html", str(tmp_path / "b.html"), "--films", "5"]) == 0
    page = (tmp_path / "new" / "a.html").read_text()
    assert page == (tmp_path / "b.html").read_text()
    assert page.startswith("<!doctype html>")
    assert document["id"] in page
    assert run(["inspect", str(data), "--html", str(tmp_path / "c.html"), "--films", "5", "--seed", "1"]) == 0
    assert page != (tmp_path / "c.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.html", "c.html", "new"]


def test_what_is_no_data_set(capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path) -> None:
    assert "there is no data set at /nowhere" in refusal(capsys, "/nowhere")["message"]
    assert "there is no data set at" in refusal(capsys, data / "manifest.json")["message"]
    half = Path(shutil.copytree(data, tmp_path / "half"))
    (half / "manifest.json").unlink()
    error = refusal(capsys, half)
    assert "holds no finished data set: manifest.json is missing" in error["message"]
    assert "ingest again" in error["remedy"]


def test_a_damaged_shard_and_a_page_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    assert str(tmp_path) in refusal(capsys, data, "--html", tmp_path)["message"]
    spoilt = Path(shutil.copytree(data, tmp_path / "data"))
    shard = sorted((spoilt / "shards").iterdir())[0]
    content = bytearray(shard.read_bytes())
    content[100] ^= 255
    shard.write_bytes(bytes(content))
    assert "is damaged" in refusal(capsys, spoilt, "--html", tmp_path / "page.html")["message"]
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("what", ["siim", "config"])
def test_augmentation_is_drawn(
    capsys: pytest.CaptureFixture[str], data: Path, phantom_config: Path, tmp_path: Path, what: str
) -> None:
    named = "siim" if what == "siim" else phantom_config
    answer(capsys, data, "--augment", named, "--picture", tmp_path / "a.png", "--html", tmp_path / "a.html")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    title = "siim: left" if what == "siim" else "tiny (standard): turned by up to 10°"
    assert title in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["--augment", "siim"], "needs a file", "--picture"),
        (["--picture", "a.png"], "--augment is not given", "--augment"),
        (["--augment", "sim", "--picture", "a.png"], "neither a preset nor", "keras_dd2424"),
        (["--augment", "no.yaml", "--picture", "a.png"], "no configuration at", "file name"),
    ],
)
def test_augmentation_that_cannot_be_drawn(
    capsys: pytest.CaptureFixture[str], data: Path, arguments: list[str], message: str, remedy: str
) -> None:
    assert run(["inspect", str(data), *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert remedy in told


def test_torch_and_ray_stay_out(data: Path, tmp_path: Path) -> None:
    arguments = ["inspect", str(data), "--html", str(tmp_path / "page.html"), "--augment", "strong"]
    absent = ("torch", "ray", "pandas", "pydicom", "boto3")
    code = (
        f"import sys\nfrom raycxr.cli.main import run\nassert run({arguments!r}) == 0\n"
        f"print([name for name in {absent!r} if name in sys.modules], file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_in_a_bucket(capsys: pytest.CaptureFixture[str], data: Path, s3_folder: str) -> None:
    for file in data.rglob("*"):
        if file.is_file():
            (Location(s3_folder) / "data" / str(file.relative_to(data))).copy_from(file)
    pictures = ("--augment", "siim", "--picture", f"{s3_folder}/picture.png")
    there = answer(capsys, f"{s3_folder}/data", "--html", f"{s3_folder}/page.html", *pictures)
    here = answer(capsys, data)
    assert {key: here[key] for key in here if key != "dataset"} == {
        key: there[key] for key in there if key != "dataset"
    } | {"verified_shards": here["verified_shards"]}
    assert (Location(s3_folder) / "page.html").read_text().startswith("<!doctype html>")
    assert (Location(s3_folder) / "picture.png").read_bytes().startswith(b"\x89PNG")
