"""Policies of checkov over the manifests and the image; what is skipped says why beside it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import CLUSTERS, K8S, OPTIONAL, composed, overlay, pods
from own_environment import make

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkov() -> Path:
    """The program, in an environment of its own: it pins other versions of what we use."""
    folder = Path(os.environ.get("RAYCXR_CHECKOV") or "~/.cache/raycxr/checkov").expanduser()
    return make("checkov", folder, K8S / "checks-requirements.lock") / "bin" / "checkov"


def summary(checkov: Path, framework: str, *arguments: object) -> Any:
    # It would ask its maker for guidelines, and need not.
    settings = {**os.environ, "BC_SKIP_MAPPING": "TRUE", "LOG_LEVEL": "ERROR"}
    command = [str(checkov), "--framework", framework, "--output", "json", "--compact", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=settings)
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout)


def failures(answer: Any) -> list[str]:
    """Checks that failed, and those that are skipped without a reason."""
    results = answer["results"]
    failed = [f"{one['check_id']} {one['check_name']}: {one['resource']}" for one in results["failed_checks"]]
    unreasoned = [one for one in results["skipped_checks"] if len(one["check_result"]["suppress_comment"]) < 20]
    return failed + [f"{one['check_id']} is skipped without a reason: {one['resource']}" for one in unreasoned]


def test_manifests(checkov: Path, tmp_path: Path) -> None:
    """Pods of Ray clusters are checked as pods: checkov knows nothing of Ray's kinds."""
    rendered = tmp_path / "rendered"
    rendered.mkdir()
    everything = [one for one in OPTIONAL if one not in ("kueue", "s3-role", "monitoring")]
    for name, documents in (
        *((name, overlay(name)) for name in (*CLUSTERS, "jobs-gpu")),
        ("everything", composed(tmp_path, "gpu", *everything)),
    ):
        core = [one for one in documents if not one["kind"].startswith("Ray")]
        (rendered / f"{name}.yaml").write_text(yaml.safe_dump_all([*core, *pods(documents)]))
    answer = summary(checkov, "kubernetes", "--directory", rendered)
    assert failures(answer) == []
    assert answer["summary"]["passed"] > 2000
    assert answer["summary"]["parsing_errors"] == 0


def test_the_image(checkov: Path) -> None:
    answer = summary(checkov, "dockerfile", "--file", K8S / "image" / "Dockerfile")
    assert failures(answer) == []
    assert answer["summary"]["passed"] > 50


def test_a_bad_pod_is_noticed(checkov: Path, tmp_path: Path) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"},
           "spec": {"containers": [{"name": "bad", "image": "bad:latest"}]}}  # fmt: skip
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(pod))
    assert len(failures(summary(checkov, "kubernetes", "--directory", tmp_path))) > 10
