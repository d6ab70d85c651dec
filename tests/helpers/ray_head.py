"""A Ray head of a test's own: token authentication, free ports, its own folder, and no other process touched."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType

START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RayHead:
    """A head that can be killed and started again at the same address.

    Parameters
    ----------
    environment : dict
        Further variables of the head, and so of its jobs.
    metrics : int or None
        Port of the page that Prometheus reads; None: any.
    """

    def __init__(self, environment: dict[str, str] | None = None, cpus: int = 2, metrics: int | None = None) -> None:
        self.token = secrets.token_hex(32)
        # Sockets have short names only.
        self.folder = Path(tempfile.mkdtemp(prefix="rh", dir="/tmp"))
        self.gcs, self.dashboard, self.agent, self.client = (free_port() for _ in range(4))
        self.cpus, self.metrics = cpus, metrics
        self.process: subprocess.Popen[bytes] | None = None
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = inherited | {
            "PATH": programs,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            # As in k8s/base: a job that is stopped has time to end by itself, on a busy machine too.
            "RAY_JOB_STOP_WAIT_TIME_S": "30",
            **(environment or {}),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    @property
    def gcs_address(self) -> str:
        return f"127.0.0.1:{self.gcs}"

    def __enter__(self) -> RayHead:
        try:
            self.start()
        except BaseException:  # Ctrl-C while it starts must not leave it behind
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={self.gcs}"]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard}", f"--num-cpus={self.cpus}"]
        command += [f"--dashboard-agent-listen-port={self.agent}", f"--ray-client-server-port={self.client}"]
        command += [f"--temp-dir={self.folder}", "--object-store-memory=100000000", "--disable-usage-stats"]
        command += [] if self.metrics is None else [f"--metrics-export-port={self.metrics}"]
        log = (self.folder / "start.log").open("ab")
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "start.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "start.log").read_text()
            time.sleep(0.3)

    def stop(self) -> None:
        """End the head and all that it has started, as where a node is lost."""
        if self.process is not None:
            _end(self.process)
            self.process = None

    def _answers(self) -> bool:
        """Whether jobs can be handed in: the dashboard answers, and so does the head node's agent."""
        jobs = urllib.request.Request(f"{self.url}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"})
        agent = urllib.request.Request(f"http://127.0.0.1:{self.agent}/api/healthz")
        try:
            for request in (jobs, agent):
                with urllib.request.urlopen(request, timeout=5) as answer:
                    if answer.status != 200:
                        return False
        except OSError:
            return False
        return True


class RayNode:
    """A second node of a head's cluster, at another address of this machine, that can be lost and come back.

    Parameters
    ----------
    head : RayHead
    cpus : int
    """

    def __init__(self, head: RayHead, cpus: int) -> None:
        self.head, self.cpus = head, cpus
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RayNode:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Let it join; the cluster hears of it some seconds later."""
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "start", "--block", "--node-ip-address=127.0.0.2", f"--address={self.head.gcs_address}"]
        command += [f"--num-cpus={self.cpus}", "--object-store-memory=100000000", "--disable-usage-stats"]
        log = (self.head.folder / "node.log").open("ab")
        self.process = subprocess.Popen(
            command, env=self.head.environment, stdout=log, stderr=log, cwd=self.head.folder, start_new_session=True
        )

    def stop(self) -> None:
        """End it and all that it has started, without a chance to say so."""
        if self.process is not None:
            _end(self.process)
            self.process = None

    def pids(self) -> list[int]:
        """Of what runs on it."""
        return [] if self.process is None else descendants(self.process.pid)


def _end(process: subprocess.Popen[bytes]) -> None:
    # The drivers of jobs have groups of their own.
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(ancestor: int) -> list[int]:
    """Processes below one, as `ps` lists them."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [ancestor]
    for known in found:
        found += [pid for pid, parent in parents if parent == known]
    return found[1:]
