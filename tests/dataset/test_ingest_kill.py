"""Ingest that is killed: before every single step in the file system, and on a cluster at any moment.

Whatever the moment, readers see a whole data set or none, and a call that is let through ends with what an undisturbed
one would have written, and with nothing else.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from raycxr.config.load import load_config
from raycxr.dataset.ingest import ingest, run_here
from raycxr.dataset.manifest import read_index, read_manifest
from raycxr.dataset.shard import open_verified
from raycxr.errors import DataError
from raycxr.sources.synth import write_pairs
from raycxr.storage.location import Location

pytestmark = pytest.mark.slow

CheckWhole = Callable[[Location, Collection[str], int], None]

WRITING = os.O_WRONLY | os.O_RDWR
# Children are forked from a server that has these: an import of a second would be paid for at every step.
IMPORTED = ["pytest", "raycxr.config.load", "raycxr.dataset.ingest", "raycxr.sources.synth"]
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(IMPORTED)


def names(first: int, last: int) -> list[str]:
    return [f"phantom{number:04d}" for number in range(first, last + 1)]


def write_archive(folder: Path, films: int, side: int, shard_films: int) -> Path:
    """Write phantoms, and a configuration of their ingest into `out` beside them."""
    write_pairs(Location(folder / "set"), films, side, 0, lambda done, total: None)
    path = folder / "ingest.yaml"
    path.write_text(
        f"ingest: {{source: pairs, images: {folder}/set/images, masks: {folder}/set/masks, size: 32,"
        f" shard_films: {shard_films}, out: {folder}/out}}\n"
    )
    return path


def ingest_killed_before(step: int, path: Path, out: Path) -> None:
    """Ingest in this process, which ends by SIGKILL before the given step that changes a file or a folder of `out`."""
    left = step

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if _changes(event, arguments, out):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    ingest(load_config(path), run_here, lambda done, total: None)


def _changes(event: str, arguments: tuple[Any, ...], out: Path) -> bool:
    if event == "open":
        return bool(arguments[2] & WRITING) and str(arguments[0]).startswith(str(out))
    if event == "os.mkdir":
        return str(arguments[0]).startswith(str(out)) and not Path(arguments[0]).exists()
    # What is deleted with a whole folder has a name relative to it; nothing else is deleted here.
    return event in ("os.rename", "os.remove", "os.rmdir")


def gets_through(step: int, path: Path, out: Path) -> bool:
    child = _forkserver.Process(target=ingest_killed_before, args=(step, path, out))
    child.start()
    child.join(60)
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == 0


def seen(out: Path) -> str | None:
    """Content id of what a reader finds, every byte of it checked; None where there is no data set."""
    place = Location(out)
    try:
        manifest = read_manifest(place)
    except DataError:
        return None
    films = [
        film
        for entry in manifest.shards
        for film in open_verified(place / entry.name, entry.sha256).read(["id"])["id"].to_pylist()
    ]
    assert [row["id"] for row in read_index(place)] == films
    assert len(films) == manifest.counts.images
    return manifest.id


def test_killed_before_every_step_of_a_first_ingest(tmp_path: Path, check_whole: CheckWhole) -> None:
    path, out = write_archive(tmp_path, 4, 64, 3), tmp_path / "out"
    whole = ingest(load_config(path, [f"ingest.out={tmp_path}/whole"]), run_here, lambda done, total: None)
    steps = 0
    while not gets_through(steps, path, out):
        assert seen(out) in (None, whole.id)
        if steps % 3 == 0:
            # Killed again on the way back, wherever that is.
            gets_through(steps % 11, path, out)
            assert seen(out) in (None, whole.id)
        assert gets_through(10_000, path, out)
        assert seen(out) == whole.id
        check_whole(Location(out), names(1, 4), 4)
        shutil.rmtree(out)
        steps += 1
    assert steps > 30  # the hook has met them


def test_killed_before_every_step_of_a_growth(tmp_path: Path, check_whole: CheckWhole) -> None:
    path, out, before = write_archive(tmp_path, 4, 64, 2), tmp_path / "out", tmp_path / "before"
    whole = ingest(load_config(path, [f"ingest.out={tmp_path}/whole"]), run_here, lambda done, total: None)
    later = tmp_path / "set" / "images" / "phantom0003.png"
    later.rename(later.with_suffix(".later"))
    small = ingest(load_config(path), run_here, lambda done, total: None)
    later.with_suffix(".later").rename(later)
    out.rename(before)
    steps, unseen = 0, 0
    shutil.copytree(before, out)
    while not gets_through(steps, path, out):
        found = seen(out)
        assert found in (None, small.id, whole.id)
        unseen += found is None
        if steps % 3 == 0:
            gets_through(steps % 11, path, out)
            assert seen(out) in (None, small.id, whole.id)
        assert gets_through(10_000, path, out)
        assert seen(out) == whole.id
        check_whole(Location(out), names(1, 4), 4)
        shutil.rmtree(out)
        shutil.copytree(before, out)
        steps += 1
    assert steps > 30
    # Only while the tables change places is there none.
    assert unseen < 10


def test_another_number_of_films_per_shard_after_a_kill(tmp_path: Path, check_whole: CheckWhole) -> None:
    """The notes fit no shard of the new plan, and of the old plan's shards nothing stays behind."""
    path, out = write_archive(tmp_path, 4, 64, 1), tmp_path / "out"
    assert not gets_through(30, path, out)
    assert len(list((out / "shards").glob("*.parquet"))) > 2
    ingest(load_config(path, ["ingest.shard_films=3"]), run_here, lambda done, total: None)
    assert len(list((out / "shards").glob("*.parquet"))) == 2
    check_whole(Location(out), names(1, 4), 4)


@pytest.fixture
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Ray keeps its session; a short name, because those of sockets have at most 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_killed_on_a_cluster_at_random_moments(tmp_path: Path, ray_folder: Path, check_whole: CheckWhole) -> None:
    """Ray's workers are in groups of their own and may outlive the kill by a moment, in which they go on writing."""
    path, out = write_archive(tmp_path, 48, 256, 2), tmp_path / "out"
    whole = ingest(load_config(path, [f"ingest.out={tmp_path}/whole"]), run_here, lambda done, total: None)
    command = [sys.executable, "-c", "from raycxr.cli.main import main; main()", "ingest", str(path), "--json"]
    chance = random.Random(3)
    notes = 0
    for _ in range(2):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as job:
            wanted = notes + chance.randint(1, 6)
            deadline = time.monotonic() + 120
            while job.poll() is None and len(list(out.glob("parts/*.json"))) < wanted:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.05))
            os.killpg(job.pid, signal.SIGKILL)
        assert job.returncode == -signal.SIGKILL
        assert seen(out) is None
        notes = len(list(out.glob("parts/*.json")))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["id"], document["images"], document["rejected"]) == (whole.id, 48, 0)
    assert document["skipped"] >= 2 * notes >= 4
    check_whole(Location(out), names(1, 48), 48)
    files = [out / "index.parquet", *out.glob("shards/*"), *out.glob("masks/*")]
    assert len(files) == 1 + 2 * 24
    for file in files:
        assert file.read_bytes() == (tmp_path / "whole" / file.relative_to(out)).read_bytes()


POISON = """
import os, signal
from raycxr.sources import choices
from raycxr.sources.pairs import PairsSource

class Poison(PairsSource):
    def decode(self, film, data):
        if film.id == "phantom0005":
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().decode(film, data)

def build(section):
    return Poison(section.images, section.masks, "", "lungs", False, None)
"""


@pytest.mark.parametrize("local", [False, True])
def test_a_film_that_kills_its_decoder_is_rejected(
    tmp_path: Path, ray_folder: Path, check_whole: CheckWhole, local: bool
) -> None:
    path, out = write_archive(tmp_path, 8, 64, 3), tmp_path / "out"
    (tmp_path / "poison.py").write_text(POISON)
    script = "import poison; poison.choices.SOURCES['pairs'] = poison.build; from raycxr.cli.main import main; main()"
    command = [sys.executable, "-c", script, "ingest", str(path), "--json", *(["--local"] if local else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    if local:
        # Here it is our own process that died; the next one knows which shard it was at.
        assert done.returncode == -signal.SIGSEGV
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["images"], document["rejects"]) == (7, {"decoder_died": 1})
    check_whole(Location(out), sorted({*names(1, 8)} - {"phantom0005"}), 8)
