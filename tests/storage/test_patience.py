"""How long a server that does not answer is waited for: not long before a run has begun."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raycxr.errors import StorageError
from raycxr.storage.location import Location
from raycxr.storage.patience import FIRST_CONTACT_SECONDS, first_contact, patience

pytestmark = pytest.mark.slow

# Beyond the patience: the last attempt, and for six processes that start at once on a busy machine the imports.
# With the long patience every one would take more than 90.
SPARE_SECONDS = 6.0
START_SECONDS = 60.0


@pytest.fixture(params=["nobody listens", "never accepts", "never answers"])
def dead_endpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Endpoint to which the ``AWS_*`` variables point, and where nothing is to be had."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = []
        if request.param == "nobody listens":
            listener.close()
        if request.param == "never accepts":
            # A full queue drops whoever comes next, as a firewall does.
            for _ in range(3):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(address)
        if request.param == "never answers":
            listener.listen(64)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{address[1]}")
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        yield f"http://127.0.0.1:{address[1]}"
        for client in waiting:
            client.close()


def test_a_first_contact_fails_soon(dead_endpoint: str) -> None:
    began = time.monotonic()
    with first_contact(), pytest.raises(StorageError) as caught:
        Location("s3://films/set").exists()
    taken = time.monotonic() - began
    assert FIRST_CONTACT_SECONDS <= taken < FIRST_CONTACT_SECONDS + SPARE_SECONDS
    assert caught.value.message == f"cannot reach {dead_endpoint} to read s3://films/set"
    assert "AWS_ENDPOINT_URL" in caught.value.remedy


@pytest.mark.parametrize("dead_endpoint", ["never answers"], indirect=True)
def test_every_verb_tells_of_it_soon_and_in_one_line(dead_endpoint: str, tmp_path: Path) -> None:
    config = tmp_path / "bucket.yaml"
    config.write_text("ingest: {source: pairs, images: 's3://films/set', out: 's3://films/out'}\n")
    verbs: list[list[object]] = [
        ["inspect", "s3://films/out"],
        ["ingest", config, "--local"],
        ["train", config, f"storage.uri={tmp_path}", "--local"],
        ["evaluate", "s3://films/run"],
        ["pull", "s3://films/run", tmp_path / "best"],
        ["synth", "pairs", "--count", "1", "--out", "s3://films/new"],
    ]
    began = time.monotonic()
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", "from raycxr.cli.main import main; main()", *map(str, verb), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for verb in verbs
    ]
    for verb, job in zip(verbs, jobs, strict=True):
        out, err = job.communicate(timeout=120)
        assert job.returncode == 1, verb
        assert [line for line in err.splitlines() if line.startswith("raycxr: ")] == [
            f"raycxr: {json.loads(out)['error']['message']}"
        ]
        assert f"cannot reach {dead_endpoint} to " in err, verb
        assert time.monotonic() - began < FIRST_CONTACT_SECONDS + SPARE_SECONDS + START_SECONDS, verb


def test_the_long_patience_is_back_afterwards() -> None:
    from raycxr.storage.patience import short_patience

    with patience(1), first_contact():
        assert short_patience.get() == FIRST_CONTACT_SECONDS
    assert short_patience.get() is None
