"""`raycxr submit` and `raycxr jobs` against a real cluster with token authentication on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from cut_proxy import CutProxy
from ray_head import RayHead

from raycxr.cluster.connection import ClusterError
from raycxr.cluster.job_access import connect_job_api
from raycxr.cluster.job_log import JobLog

COMMAND = [sys.executable, "-c", "from raycxr.cli.main import main; main()"]
HERE = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with RayHead() as started:
        yield started


def environment(token: str | None, **further: str) -> dict[str, str]:
    """That of a user who has nothing but a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    home = {"HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])}
    return kept | home | further | ({} if token is None else {"RAY_AUTH_TOKEN": token})


def raycxr(token: str | None, *arguments: object, cwd: Path | None = None) -> tuple[int, Any, str]:
    """Status, document and standard error of a command with `--json` before its arguments."""
    verb, *others = map(str, arguments)
    jobs = [verb, others.pop(0)] if verb == "jobs" else [verb]
    done = subprocess.run(
        [*COMMAND, *jobs, "--json", *others],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(token),
        cwd=cwd,
    )
    assert done.stdout, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def following(token: str, *arguments: str) -> subprocess.Popen[str]:
    """A job that is submitted, and followed by a process of its own."""
    command, pipe = [*COMMAND, "submit", "--json", *arguments], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(token))


def long_job(phantom_config: Path, runs: Path, name: str, epochs: int) -> list[str]:
    """Training that writes a line for each epoch."""
    overrides = [f"train.epochs={epochs}", f"train.name={name}", f"storage.uri={runs}"]
    return ["--", "train", str(phantom_config), *overrides, "--local"]


@pytest.mark.slow
def test_a_job_from_its_start_to_its_listing(head: RayHead, phantom_config: Path, tmp_path: Path) -> None:
    options = ["--address", head.url, "--name", "first", "--env", "AWS_REGION=eu-central-1"]
    job = long_job(phantom_config, tmp_path, "first", 2)
    status, document, err = raycxr(head.token, "submit", *options, *job)
    assert status == 0, err
    assert {key: document[key] for key in ("submission_id", "status", "address")} == {
        "submission_id": "first",
        "status": "SUCCEEDED",
        "address": head.url,
    }
    assert err.count("epoch 1/2") == err.count("epoch 2/2") == 1
    assert (tmp_path / "first" / "best" / "bundle.json").exists()
    # The file has come along: the command names it as it lies in the job's folder.
    assert document["command"].startswith(f"raycxr train {phantom_config.name} ")
    status, again, err = raycxr(head.token, "submit", *options, *job)
    assert (status, again) == (0, document)
    assert "first has ended already: SUCCEEDED; it is not started twice" in err
    edited = tmp_path / phantom_config.name
    edited.write_text(phantom_config.read_text() + "# edited\n")
    status, other, _ = raycxr(head.token, "submit", *options, *job[:2], str(edited), *job[3:])
    assert "first is there already with another configuration" in other["error"]["message"]
    status, other, _ = raycxr(head.token, "submit", *options, "--", "runs", str(tmp_path))
    assert status == 1
    assert "first is there already with another command" in other["error"]["message"]
    for address in (head.url, head.gcs_address):
        assert raycxr(head.token, "jobs", "status", "first", "--address", address)[1] == document
    _, logs, _ = raycxr(head.token, "jobs", "logs", "first", "--address", head.url)
    assert "epoch 2/2" in logs["log"]
    _, listed, _ = raycxr(head.token, "jobs", "list", "--address", head.url)
    assert document in listed


@pytest.mark.slow
def test_a_job_that_fails(head: RayHead) -> None:
    status, document, err = raycxr(head.token, "submit", "--address", head.url, "--", "runs", "/nowhere")
    assert status == 1
    assert document["status"] == "FAILED"
    assert document["last_lines"][-2:] == ["raycxr: no such file or folder: /nowhere", "        correct the path"]
    assert document["error"]["message"] == f"the job {document['submission_id']} failed with exit code 1"
    assert "raycxr: no such file or folder: /nowhere" in err
    # Coming back to it tells the same.
    arguments = ["jobs", "logs", document["submission_id"], "--follow", "--address", head.url]
    status, again, err = raycxr(head.token, *arguments)
    assert (status, again) == (1, document)
    assert "no such file or folder: /nowhere" in err


@pytest.mark.slow
def test_tokens(head: RayHead) -> None:
    for token, part in ((None, "wants a token, and there is none here"), ("a" * 64, "does not accept the token")):
        status, document, _ = raycxr(token, "submit", "--address", head.url, "--", "runs", "/nowhere")
        assert status == 1
        assert part in document["error"]["message"]
        assert "RAY_AUTH_TOKEN" in document["error"]["remedy"]
    status, document, _ = raycxr("a" * 64, "jobs", "list", "--address", head.gcs_address)
    assert "does not accept the token" in document["error"]["message"]
    status, document, _ = raycxr(head.token, "jobs", "stop", "nobody", "--address", head.url)
    assert (status, document["error"]["kind"]) == (1, "cluster")
    assert f"at {head.url} knows no job nobody" in document["error"]["message"]


@pytest.mark.slow
def test_the_package_of_this_machine_is_shipped(head: RayHead) -> None:
    arguments = ["submit", "--ship", "--address", head.url, "--", "doctor", "--address", head.url]
    _, _, err = raycxr(head.token, *arguments)
    place = re.search(r"ok +raycxr +\S+ in (\S+)", err)
    assert place is not None, err
    assert place[1].startswith(str(head.folder))
    assert re.search(r"ok +cluster +http://127.0.0.1:\d+: Ray [\d.]+, 1 of \d+ jobs running", err)


@pytest.mark.slow
def test_detached_and_stopped(head: RayHead, phantom_config: Path, tmp_path: Path) -> None:
    arguments = ["--address", head.url, "--name", "long", *long_job(phantom_config, tmp_path, "long", 5000)]
    with following(head.token, *arguments) as follower:
        assert follower.stderr is not None
        assert any(re.search(r"epoch +2/5000", line) for line in follower.stderr)
        began = time.monotonic()
        follower.send_signal(signal.SIGINT)
        out, err = follower.communicate(timeout=60)
    # And not when the job ends.
    assert time.monotonic() - began < 30
    assert follower.returncode == 1
    error = json.loads(out)["error"]
    assert error["message"] == "detached from long, which goes on"
    assert error["remedy"] == f"come back with: raycxr jobs logs long --follow --address {head.url}"
    assert "Traceback" not in err
    _, running, _ = raycxr(head.token, "jobs", "status", "long", "--address", head.url)
    assert running["status"] == "RUNNING"
    status, stopped, _ = raycxr(head.token, "jobs", "stop", "long", "--address", head.url)
    assert (status, stopped["status"]) == (0, "STOPPED")
    # It was ended tidily, so that it can be resumed.
    assert json.loads((tmp_path / "long" / "run.json").read_text())["status"] == "interrupted"
    status, document, _ = raycxr(head.token, "jobs", "logs", "long", "--follow", "--address", head.url)
    assert (status, document["error"]["message"]) == (1, "the job long was stopped")
    status, again, _ = raycxr(head.token, "jobs", "stop", "long", "--address", head.url)
    assert (status, again["status"]) == (0, "STOPPED")


@pytest.mark.slow
def test_the_way_is_cut_while_following(head: RayHead, phantom_config: Path, tmp_path: Path) -> None:
    with CutProxy(head.dashboard) as proxy:
        arguments = ["--address", proxy.url, "--name", "cut", *long_job(phantom_config, tmp_path, "cut", 25)]
        with following(head.token, *arguments) as follower:
            assert follower.stderr is not None
            told = ""
            for line in follower.stderr:
                told += line
                if re.search(r"epoch +5/25", line):
                    break
            proxy.cut()
            for line in follower.stderr:
                told += line
                if "lost contact" in line:
                    break
            time.sleep(3)
            proxy.mend()
            out, err = follower.communicate(timeout=300)
        told += err
        assert follower.returncode == 0, told[-2000:]
        assert json.loads(out)["status"] == "SUCCEEDED"
        assert f"in contact with {proxy.url} again" in told
        epochs = [int(number) for number in re.findall(r"epoch +(\d+)/25", told)]
        assert epochs == list(range(1, 26))


@pytest.mark.slow
def test_a_head_that_stays_away(
    head: RayHead, phantom_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    arguments = ["--address", head.url, "--name", "away", "--no-follow"]
    job = long_job(phantom_config, tmp_path, "away", 5000)
    status, document, _ = raycxr(head.token, "submit", *arguments, *job)
    assert (status, document["status"] in ("PENDING", "RUNNING")) == (0, True)
    with CutProxy(head.dashboard) as proxy:
        api, told = connect_job_api(proxy.url), list[str]()

        def write(text: str) -> None:
            if re.search(r"epoch +1/", text):
                proxy.cut()

        with pytest.raises(ClusterError, match=r"no answer from .* away may still run") as error:
            JobLog(api, "away", write, told.append, patience=3).follow()
    assert "raycxr jobs logs away --follow" in error.value.remedy
    assert sum("lost contact" in line for line in told) == 1
    raycxr(head.token, "jobs", "stop", "away", "--address", head.url)


@pytest.mark.slow
@pytest.mark.parametrize("remembers", [False, True])
def test_the_head_is_restarted_while_following(phantom_config: Path, tmp_path: Path, remembers: bool) -> None:
    """With Ray's own fault tolerance of the head a job is known afterwards, and known to have ended."""
    (tmp_path / "gcs").mkdir()
    storage = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(tmp_path / "gcs")}
    with RayHead(storage if remembers else {}) as own:
        arguments = ["--address", own.url, "--name", "night", *long_job(phantom_config, tmp_path, "night", 5000)]
        with following(own.token, *arguments) as follower:
            assert follower.stderr is not None
            assert any(re.search(r"epoch +2/5000", line) for line in follower.stderr)
            own.stop()
            own.start()
            out, err = follower.communicate(timeout=300)
    assert follower.returncode == 1
    assert "lost contact" in err
    assert "Traceback" not in err, err
    document = json.loads(out)
    if remembers:
        assert document["status"] == "FAILED"
        assert document["error"]["message"].startswith("the job night failed")
    else:
        assert document["error"]["message"] == (f"the head at {own.url} was restarted and has forgotten the job night")
        assert "--resume" in document["error"]["remedy"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--", "fly"], "'fly' is no verb that a job can run"),
        (["--", "submit", "--", "runs", "x"], "'submit' is no verb that a job can run"),
        (["--", "train"], "Missing argument 'CONFIG'"),
        (["--", "train", "absent.yaml"], "no configuration at"),
        (["--", "runs", "s3://films", "--bad"], "No such option: --bad"),
        (["--env", "AWS_SECRET_ACCESS_KEY=x", "--", "runs", "s3://films"], "would show a secret"),
        (["--name", "a b", "--address", "http://127.0.0.1:9", "--", "runs", "s3://films"], "is no name of a job"),
        (["--cpus", "-1", "--", "runs", "s3://films"], "Invalid value for '--cpus'"),
        ([], "VERB"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    capsys: pytest.CaptureFixture[str], arguments: list[str], part: str
) -> None:
    status, out, err = call(capsys, "submit", "--json", *arguments)
    assert status == 2
    assert part in json.loads(out)["error"]["message"]
    assert "Traceback" not in err
