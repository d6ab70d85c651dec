"""What Prometheus reads from a node while a run is trained there."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from ray_head import RayHead, free_port

from raycxr.training.gauges import FIGURES
from raycxr.training.ray_metrics import PREFIX

pytestmark = pytest.mark.slow


def metrics(port: int) -> str:
    """The page of a node, empty as long as there is none."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_the_figures_of_a_run_are_metrics_of_its_node(phantom_config: Path, tmp_path: Path) -> None:
    port = free_port()
    # Every half second in place of every ten.
    with RayHead({"RAY_metrics_report_interval_ms": "500"}, metrics=port) as head:
        command = [sys.executable, "-c", "from raycxr.cli.main import main; main()", "train", str(phantom_config),
                   f"resources.address={head.gcs_address}", f"storage.uri={tmp_path}", "train.name=seen",
                   "train.epochs=100000", "resources.cpus_per_worker=1"]  # fmt: skip
        log = tmp_path / "log"
        with log.open("w") as file:
            run = subprocess.Popen(command, env=head.environment, stdout=file, stderr=file)
        try:
            deadline = time.monotonic() + 400
            seen: dict[str, set[str]] = {}
            expected = {f"ray_{PREFIX}{name}" for name in FIGURES if name != "gpu_memory_bytes"}
            while set(seen) != expected or any(ranks != {"0"} for ranks in seen.values()):
                assert run.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
                seen = {}
                for line in metrics(port).splitlines():
                    if line.startswith(f"ray_{PREFIX}") and 'run="seen"' in line:
                        seen.setdefault(line.partition("{")[0], set()).update(re.findall(r'rank="(\d)"', line))
        finally:
            run.kill()
            run.wait()
