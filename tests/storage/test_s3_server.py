"""The S3 server as a reader of the README uses it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raycxr.storage.check import check_writable
from raycxr.storage.location import Location

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "s3_server.py"


def daemons_over(data: Path) -> list[str]:
    """Command lines of running processes that name the server's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "swift" in command and f"{data}/" in command:
            found.append(command)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_printed_environment_serves_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    data = tmp_path / "data"
    command = [sys.executable, str(SCRIPT), "--data", str(data), "--bucket", "demo"]
    for round_ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            exports = [server.stdout.readline().split() for _ in range(4)]
            for _, assignment in exports:
                name, value = assignment.split("=", 1)
                monkeypatch.setenv(name, value)
            assert os.environ["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
            check_writable(Location("s3://demo/runs"))
            if round_ == 1:
                assert Location("s3://demo/kept").read_text() == "from the first round"
            Location("s3://demo/kept").write_text("from the first round")
            assert len(daemons_over(data)) == 4
            server.send_signal(number)
        if number == signal.SIGINT:
            assert server.returncode == 0
        deadline = time.monotonic() + 10
        while daemons_over(data) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert daemons_over(data) == []
