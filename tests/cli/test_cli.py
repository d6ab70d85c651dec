"""The command line as a user or a program meets it: answers, exit codes, one line for each mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import answer, call

from raycxr.cli.main import run
from raycxr.sources.synth import LAYOUTS

pytestmark = pytest.mark.filterwarnings("ignore")

ONE_IN_PLURAL = re.compile(
    r"(?<![\d.,])1(?:</?\w+>)* ?(?:(?:all|phantom|annotated) )?(?:films|masks|shards|patients|steps|epochs)\b"
)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, str]]:
    """Status and error of a failing call; on standard error it is one line, and one more with the remedy."""
    status, out, err = call(capsys, *arguments, "--json")
    error: dict[str, str] = json.loads(out)["error"]
    told = [line for line in err.splitlines() if line.startswith("raycxr: ")]
    assert told == [f"raycxr: {error['message']}"]
    assert "Traceback" not in err
    assert error["remedy"]
    return status, error


@pytest.fixture(scope="module")
def trained(phantom_config: Path) -> Path:
    """Folder of a finished local run of two epochs."""
    assert run(["train", str(phantom_config), "train.name=trained", "--local"]) == 0
    return phantom_config.parent / "runs" / "trained"


def test_the_whole_road_in_json(capsys: pytest.CaptureFixture[str], tmp_path: Path, phantom_config: Path) -> None:
    synth = answer(capsys, "synth", "pairs", "--out", tmp_path / "films", "--count", 12, "--size", 64)
    assert synth == {"out": str(tmp_path / "films"), "layout": "pairs", "images": 12, "with_mask": 12}
    config = tmp_path / "pairs.yaml"
    config.write_text(
        f"extends: {phantom_config}\n"
        f"ingest: {{source: pairs, images: {tmp_path}/films/images, masks: {tmp_path}/films/masks}}\n"
        f"storage: {{uri: {tmp_path}/runs}}\n"
    )
    overrides = [
        f"ingest.out={tmp_path}/data",
        "ingest.classes=null",
        "dataset.split.train=8",
        "dataset.split.validation=2",
        "dataset.split.test=2",
    ]
    ingested = answer(capsys, "ingest", config, *overrides, "--local")
    assert {key: ingested[key] for key in ("dataset", "images", "rejected", "skipped")} == {
        "dataset": str(tmp_path / "data"),
        "images": 12,
        "rejected": 0,
        "skipped": 0,
    }
    train = answer(capsys, "train", config, *overrides, "train.name=pairs", "--local")
    assert train["run"] == str(tmp_path / "runs" / "pairs")
    assert train["epochs"] == 2
    assert set(train["metrics"]["dice"]) == {"lungs", "mean"}
    result = answer(capsys, "evaluate", train["run"], "--out", tmp_path / "evaluation")["results"][0]
    assert (result["split"], result["images"]) == ("test", 2)
    assert {"dice", "iou", "pixel_accuracy", "hd95", "assd"} <= set(result["metrics"])
    listed = answer(capsys, "runs", tmp_path / "runs")
    assert [(entry["run"], entry["status"], entry["epochs"]) for entry in listed] == [(train["run"], "finished", 2)]
    pulled = answer(capsys, "pull", tmp_path / "runs", tmp_path / "best")
    assert pulled["run"] == train["run"]
    assert pulled["value"] == pytest.approx(train["metrics"]["dice"]["mean"])
    again = answer(capsys, "evaluate", tmp_path / "best")["results"][0]
    assert again["metrics"] == result["metrics"]


def test_texts_for_people(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    _, out, _ = call(capsys, "runs", trained.parent)
    assert "trained" in out
    assert "finished" in out
    _, out, _ = call(capsys, "evaluate", trained)
    assert "95 % interval" in out
    assert "clavicles" in out
    _, out, _ = call(capsys, "config", trained.parents[1] / "tiny.yaml", "train.epochs=5")
    assert "epochs: 5" in out


def test_one_is_no_plural(
    capsys: pytest.CaptureFixture[str], trained: Path, phantom_config: Path, tmp_path: Path
) -> None:
    one = [f"ingest.images={tmp_path}/films", f"ingest.masks={tmp_path}/films/scr", f"ingest.out={tmp_path}/data"]
    told = [
        call(capsys, "synth", "jsrt", "--count", 1, "--size", 64, "--out", tmp_path / "films"),
        call(capsys, "ingest", phantom_config, *one, "--local"),
        call(capsys, "inspect", tmp_path / "data", "--html", tmp_path / "sheet.html"),
        call(capsys, "evaluate", trained, tmp_path / "data", "--split", "all", "--out", tmp_path / "evaluation"),
        call(
            capsys,
            "train",
            phantom_config,
            "dataset.split={rule: fraction, train: 22, validation: 1, test: 1}",
            "train.batch_size=22",
            "train.epochs=1",
            f"storage.uri={tmp_path}/runs",
            "--local",
        ),
    ]
    assert [status for status, _, _ in told] == [0] * len(told)
    texts = [out + err for _, out, err in told]
    texts += [file.read_text() for file in (tmp_path / "sheet.html", tmp_path / "evaluation" / "report.html")]
    for text in texts:
        assert ONE_IN_PLURAL.findall(text) == []
    assert "training: 1 step an epoch" in texts[4]
    assert "Worst of 1 film" in texts[-1]


def test_a_second_data_set_that_is_none_is_told_before_the_first_is_measured(
    capsys: pytest.CaptureFixture[str], trained: Path, phantom_config: Path, tmp_path: Path
) -> None:
    data = phantom_config.parent / "data"
    _, error = refusal(capsys, "evaluate", trained, data, "/nowhere", "--out", tmp_path / "evaluation")
    assert "no data set at /nowhere" in error["message"]
    assert not (tmp_path / "evaluation").exists()


def test_a_run_name_that_exists(capsys: pytest.CaptureFixture[str], trained: Path, phantom_config: Path) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    status, error = refusal(capsys, "train", phantom_config, "train.name=trained", "--local")
    assert (status, error["kind"]) == (1, "training")
    assert "--resume trained" in error["remedy"]
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["train", "CONFIG", "train.epoch=3", "--local"], 2, "unknown key 'train.epoch'"),
        (["train", "CONFIG", "model.name=resnet", "--local"], 2, "model.name = 'resnet' is unknown"),
        (["train", "CONFIG", "loss={focle: 1}", "--local"], 2, "loss.focle is unknown"),
        (["train", "CONFIG", "loss={cross_entropy: 1}", "--local"], 2, "loss.cross_entropy is for multiclass"),
        (["train", "CONFIG", "train.metric=dice.liver", "--local"], 2, "'dice.liver' is not measured"),
        (["train", "CONFIG", "model.channels=[4, 4, 4, 4, 4, 4, 4]", "--local"], 2, "needs a multiple of 64"),
        (["train", "CONFIG", "model={name: pan}", "--local"], 2, "pan needs 128 or more"),
        (["train", "CONFIG", "train.batch_size=7", "train.accumulate=2", "--local"], 2, "train.batch_size = 7"),
        (["train", "CONFIG", "dataset.uri=/nowhere", "--local"], 1, "no data set at /nowhere"),
        (["train", "CONFIG", "storage.uri=/proc/runs", "--local"], 1, "/proc/runs"),
        (["train", "CONFIG", "dataset.split={test: 1, train: 0, validation: 0}", "--local"], 1, "train split"),
        (["train", "CONFIG", "--resume", "nothing", "--local"], 1, "no run"),
        (["train", "missing.yaml"], 2, "no configuration at"),
        (["train"], 2, "CONFIG"),
        (["fly"], 2, "fly"),
        (["synth", "mri", "--out", "/tmp/x", "--count", "3"], 2, "choose siim-dicom, siim-png, jsrt,"),
        (["synth", "jsrt", "--out", "/tmp/x"], 2, "--count is missing"),
        (["synth", "jsrt", "--out", "/tmp/x", "--rle", "table.csv"], 2, "--rle does not go with the layout jsrt"),
        (["evaluate", "/nowhere"], 1, "neither a bundle nor a run"),
        (["pull", "/nowhere", "/tmp/x"], 1, "/nowhere"),
        (["runs", "/nowhere", "--mode", "best"], 2, "choose max or min"),
        (["ingest", "CONFIG", "ingest.images=/nowhere", "--local"], 1, "/nowhere"),
        (["ingest", "CONFIG", "ingest.classes={a: [heart], b: []}", "--local"], 2, "names no structure"),
    ],
)
def test_every_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], phantom_config: Path, arguments: list[str], status: int, part: str
) -> None:
    given = [str(phantom_config) if argument == "CONFIG" else argument for argument in arguments]
    got, error = refusal(capsys, *given)
    assert got == status
    assert part in error["message"] or part in error["remedy"]
    assert "\n" not in error["message"]
    assert not (phantom_config.parent / "runs" / "nothing").exists()


def test_a_damaged_shard_stops_training_with_one_line(
    capsys: pytest.CaptureFixture[str], phantom_config: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(phantom_config.parent / "data", tmp_path / "data"))
    shard = sorted((data / "shards").iterdir())[0]
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 255
    shard.write_bytes(bytes(damaged))
    status, error = refusal(
        capsys, "train", phantom_config, f"dataset.uri={data}", f"storage.uri={tmp_path / 'runs'}", "--local"
    )
    assert status == 1
    assert "is damaged" in error["message"]


def test_synth_names_every_layout(capsys: pytest.CaptureFixture[str]) -> None:
    _, error = refusal(capsys, "synth", "mri", "--out", "/tmp/x", "--count", "3")
    assert set(re.findall(r"[a-z-]+", error["remedy"])) == {"choose", "or", *LAYOUTS}


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = call(capsys, "runs", "/nowhere", "--debug")
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import raycxr", ("torch", "ray", "pandas", "pyarrow")),
        ("import raycxr.cli.main", ("torch", "ray", "pyarrow", "pydantic")),
        ("from raycxr.cli.main import run; run(['pull', '/nowhere', '/tmp/x'])", ("torch", "ray")),
        ("from raycxr.cli.main import run; run(['runs', '/nowhere'])", ("torch", "ray")),
        ("import raycxr.training.run", ("ray", "segmentation_models_pytorch", "albumentations")),
    ],
)
def test_heavy_packages_stay_out(code: str, absent: tuple[str, ...]) -> None:
    check = f"import sys\n{code}\nprint([name for name in {absent!r} if name in sys.modules])"
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_verb_it_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "evaluate" in told.err
    assert "raycxr:" not in told.err
