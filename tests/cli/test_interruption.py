"""Ctrl-C, and the signal by which a cluster ends a job: one line that says how far it came and how to go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raycxr.sources.synth import write_pairs
from raycxr.storage.location import Location

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "from raycxr.cli.main import main; main()"]
FILMS = 64


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_pairs(Location(folder), FILMS, 384, 0, lambda done, total: None)
    return folder


def interrupt(arguments: list[object], number: int, ready: Callable[[], bool]) -> tuple[dict[str, str], str, int]:
    """Signal a command, and its group as a terminal does; return its error, what it told, and its group."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as job:
        deadline = time.monotonic() + 120
        while not ready():
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if number == signal.SIGINT:
            os.killpg(job.pid, number)
        else:
            job.send_signal(number)
        out, err = job.communicate(timeout=60)
    assert job.returncode == 1, err
    error: dict[str, str] = json.loads(out)["error"]
    assert err.splitlines()[-2:] == [f"raycxr: {error['message']}", f"        {error['remedy']}"]
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err
    assert error["kind"] == "interrupted"
    return error, err, job.pid


def _rest(group: int) -> list[str]:
    """Processes of a session that are left after its first one: none, once Ray's have noticed it, a minute at most."""
    for _ in range(1200):
        listed = subprocess.run(["ps", "-o", "args=", "-s", str(group)], capture_output=True, text=True).stdout
        left = listed.splitlines()
        if not left:
            break
        time.sleep(0.1)
    return left


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [["--local"], []], ids=["local", "ray"])
def test_ingest(archive: Path, tmp_path: Path, options: list[str], number: int) -> None:
    config, out = tmp_path / "ingest.yaml", tmp_path / "out"
    config.write_text(
        f"ingest: {{source: pairs, images: {archive}/images, masks: {archive}/masks, shard_films: 4, out: {out}}}\n"
    )
    error, _, group = interrupt(["ingest", config, *options], number, lambda: len(list(out.glob("parts/*.json"))) > 2)
    assert _rest(group) == []
    counted = re.fullmatch(rf"interrupted: (\d+) of {FILMS} films are done", error["message"])
    assert counted is not None
    done = int(counted[1])
    # A cluster tells of what is finished a moment later.
    assert (0 if not options else 4) <= done < FILMS
    assert error["remedy"] == "run the same command again to go on"
    again = subprocess.run(
        [*COMMAND, "ingest", str(config), "--local", "--json"], capture_output=True, text=True, check=True
    )
    document = json.loads(again.stdout)
    assert document["images"] == FILMS
    # What is written is never converted again, whether or not it was told of.
    assert done <= document["skipped"] < FILMS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [["--local"], []], ids=["local", "ray"])
def test_train(phantom_config: Path, tmp_path: Path, options: list[str], number: int) -> None:
    run = tmp_path / "long"
    overrides = ["train.name=long", "train.epochs=5000", f"storage.uri={tmp_path}", "train.loader_workers=1"]
    error, err, group = interrupt(
        ["train", phantom_config, *overrides, *options], number, lambda: (run / "history.jsonl").exists()
    )
    assert _rest(group) == []
    assert error["message"] == "run long was interrupted"
    assert error["remedy"] == "continue with --resume long"
    assert "epoch " in err
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    assert record["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_synth_in_several_processes(tmp_path: Path, number: int) -> None:
    out = tmp_path / "set"
    arguments = ["synth", "pairs", "--out", out, "--count", "2000", "--size", "512"]
    error, _, group = interrupt([*arguments], number, lambda: len(list(out.glob("images/*.png"))) > 3)
    assert _rest(group) == []
    assert error["message"] == "interrupted"


def test_while_ray_starts(archive: Path, tmp_path: Path) -> None:
    config = tmp_path / "ingest.yaml"
    config.write_text(f"ingest: {{source: pairs, images: {archive}/images, out: {tmp_path}/out}}\n")
    began = time.monotonic()
    # Agents that Ray had just started notice within some minutes that their cluster is gone.
    error, _, _ = interrupt(["ingest", config], signal.SIGTERM, lambda: time.monotonic() - began > 5)
    assert error["message"].startswith("interrupted")
