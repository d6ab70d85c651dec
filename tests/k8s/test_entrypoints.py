"""The entrypoints of the jobs, run as their submitter runs them: on a cluster of two nodes, with storage in a bucket.

The head has no CPUs, as in the manifests, and token authentication is on. What the nodes find in their environment is
what the overlay `jobs-dev` puts there, but for the places and the size of the work.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from manifests import ROOT, cluster_specs, environment, job_spec, of_kind, overlay, ray_container

from raycxr.runs.listing import RunEntry, list_runs
from raycxr.sources.synth import write_jsrt
from raycxr.storage.location import Location

pytestmark = [pytest.mark.slow, pytest.mark.alone]

FILMS = 30
SMALL = {"RAYCXR_FILM_SIZE": "32", "RAYCXR_EPOCHS": "1", "RAYCXR_TRIALS": "2", "RAYCXR_CPUS_PER_WORKER": "1"}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, below those that the kernel gives away by itself in the meantime."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as one:
            if port not in found and one.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


class Cluster:
    """A head and a node of two CPUs on this machine, and the environment with which they were started."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        names = ("gcs", "dashboard", "head agent", "node agent", "head metrics", "node metrics", "client")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.gcs = f"127.0.0.1:{self.ports['gcs']}"
        self.dashboard = f"http://127.0.0.1:{self.ports['dashboard']}"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        ours = {"PATH": path, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": self.gcs}
        self.environment = {**os.environ, **variables, **token, **ours}
        self.folder = folder
        self.nodes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:
        ports = ["--port", self.ports["gcs"], "--dashboard-port", self.ports["dashboard"],
                 "--ray-client-server-port", self.ports["client"]]  # fmt: skip
        self._start("head", "--head", "--num-cpus", 0, "--include-dashboard", "true", *ports)
        self.wait("head")
        self._start("node", "--address", self.gcs, "--num-cpus", 2)
        self.wait("node")
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.terminate()
        for node in self.nodes:
            try:
                node.wait(30)
            except subprocess.TimeoutExpired:
                node.kill()

    def _start(self, name: str, *arguments: object) -> None:
        ports = [f"--dashboard-agent-listen-port={self.ports[f'{name} agent']}",
                 f"--metrics-export-port={self.ports[f'{name} metrics']}"]  # fmt: skip
        command = ["ray", "start", "--block", "--disable-usage-stats", "--node-ip-address", "127.0.0.1",
                   "--object-store-memory", 200 * 2**20, *ports, *arguments]  # fmt: skip
        if name == "head":
            command += ["--temp-dir", self.folder]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.nodes.append(
                subprocess.Popen(list(map(str, command)), cwd=ROOT, env=self.environment, stdout=log, stderr=log)
            )

    def wait(self, name: str) -> None:
        """Until the probe of a node answers."""
        deadline = time.monotonic() + 120
        while self.answer(self.ports[f"{name} agent"], probe_path()) != 200:
            assert time.monotonic() < deadline, (self.folder / f"{name}.log").read_text()
            time.sleep(0.5)

    def answer(self, port: int, path: str) -> int:
        """Status of a call without a token, as the kubelet and Prometheus make it; 0 where nobody answers."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def submit(self, name: str, entrypoint: str, cpus: float = 0) -> str:
        """Run a job as the submitter's pod does, which puts the entrypoint into the line of a shell; return its log."""
        resources = f"--entrypoint-num-cpus {cpus} " if cpus else ""
        line = f"ray job submit --address {self.dashboard} --submission-id {name} {resources}-- {entrypoint}"
        shell = ["bash", "-ce", "--", line]
        done = subprocess.run(shell, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=850)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def probe_path() -> str:
    (spec,) = (spec for name, spec in cluster_specs(overlay("dev")))
    (path,) = {
        ray_container(one["template"])[f"{probe}Probe"]["httpGet"]["path"]
        for one in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
        for probe in ("startup", "readiness", "liveness")
    }
    return str(path)


@pytest.fixture(scope="module")
def storage(s3: str) -> str:
    """Folder of a bucket with films where the configurations expect them."""
    write_jsrt(Location(f"{s3}/jobs/films/jsrt"), FILMS, 64, 0, lambda done, total: None)
    return f"{s3}/jobs"


@pytest.fixture(scope="module")
def cluster(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ray", numbered=True)
    given = {name: value for name, value in environment(overlay("jobs-dev")).items() if not name.startswith("AWS_")}
    places = {"RAYCXR_DATA": f"{storage}/films", "RAYCXR_STORAGE": storage, "RAYCXR_CACHE": str(folder / "cache")}
    hubs = {"HF_HOME": str(folder / "hub"), "TORCH_HOME": str(folder / "torch")}
    with Cluster(folder, {**given, **SMALL, **places, **hubs}) as running:
        yield running


@pytest.fixture(scope="module")
def specs() -> dict[str, dict[str, object]]:
    """Specs of the jobs by their label."""
    jobs = of_kind(overlay("jobs-dev"), "RayJob", "RayCronJob")
    return {job["metadata"]["labels"]["raycxr/job"]: job_spec(job) for job in jobs}


Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(cluster: Cluster, specs: dict[str, dict[str, object]]) -> Run:
    """Run the job of a name, and return its log."""

    def run_job(name: str, attempt: int = 1) -> str:
        cpus = float(str(specs[name].get("entrypointNumCpus", 0)))
        return cluster.submit(f"{name}-{attempt}", str(specs[name]["entrypoint"]), cpus)

    return run_job


@pytest.fixture(scope="module")
def ingested(run: Run) -> str:
    return run("ingest")


@pytest.fixture(scope="module")
def trained(run: Run, ingested: str) -> str:
    return run("train")


def runs_of(storage: str) -> list[RunEntry]:
    return [entry for entry in list_runs(f"{storage}/runs") if entry.trial is None]


def test_probes_and_metrics_need_no_token_and_the_job_api_does(cluster: Cluster) -> None:
    for name in ("head", "node"):
        assert cluster.answer(cluster.ports[f"{name} agent"], probe_path()) == 200
        assert cluster.answer(cluster.ports[f"{name} metrics"], "/metrics") == 200
    assert cluster.answer(cluster.ports["dashboard"], "/api/jobs/") in (401, 403)


def test_ingest(ingested: str, storage: str) -> None:
    assert f"{FILMS} films" in ingested
    assert (Location(storage) / "data" / "jsrt-structures-32" / "manifest.json").exists()


def test_train_and_a_second_attempt(run: Run, trained: str, storage: str) -> None:
    assert "epoch 1/1" in trained
    assert "resume" not in trained.partition("epoch 1/1")[2]
    assert "epoch 1/1" not in run("train", 2)
    (entry,) = (entry for entry in runs_of(storage) if entry.location.name == "structures")
    assert (entry.status, entry.epochs) == ("finished", 1)


def test_evaluate(run: Run, trained: str, storage: str) -> None:
    run("evaluate")
    assert (Location(storage) / "evaluations" / "structures" / "report.html").exists()


def test_tune(run: Run, ingested: str, storage: str) -> None:
    run("tune")
    trials = list_runs(f"{storage}/runs/sweep")
    assert [entry.status for entry in trials] == ["finished"] * int(SMALL["RAYCXR_TRIALS"])


def test_retrain_ingests_again_and_makes_a_new_run(run: Run, trained: str, storage: str) -> None:
    before = {entry.location.name for entry in runs_of(storage)}
    assert f"{FILMS} were there already" in run("retrain")
    (new,) = (entry for entry in runs_of(storage) if entry.location.name not in before)
    assert (new.status, new.epochs) == ("finished", 1)


def test_every_job_is_run_here(specs: dict[str, dict[str, object]]) -> None:
    assert set(specs) == {"ingest", "train", "tune", "evaluate", "retrain"}
    # Nothing is fetched or installed at start.
    assert not any("runtimeEnvYAML" in spec for spec in specs.values())
