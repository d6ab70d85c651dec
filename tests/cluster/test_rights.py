"""The accounts of `k8s/base`: each may do what its verb does, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from command_line import answer, call
from kubernetes_server import KubernetesServer

ACCOUNTS = Path(__file__).parents[2] / "k8s" / "base" / "accounts.yaml"


def rights(role: str) -> set[tuple[str, str]]:
    """Verbs and resources of a Role."""
    documents = yaml.safe_load_all(ACCOUNTS.read_text())
    (found,) = [one for one in documents if one["kind"] == "Role" and one["metadata"]["name"] == role]
    return {(verb, resource) for rule in found["rules"] for resource in rule["resources"] for verb in rule["verbs"]}


def pod(labels: dict[str, str], phase: str) -> dict[str, object]:
    ready = [{"type": "Ready", "status": "True"}]
    metadata = {"name": "one", "labels": labels, "creationTimestamp": "2026-11-21T00:00:00Z"}
    return {"metadata": metadata, "status": {"phase": phase, "conditions": ready}}


def test_scale(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.rights = rights("raycxr-scale")
    kubernetes.pods = [pod({"ray.io/cluster": "films", "ray.io/group": "training"}, "Running")]
    assert answer(capsys, "scale", 1, "--wait")["ready"] == 1
    # It goes on without a look at the quota where that is forbidden, and would here.
    status, _, err = call(capsys, "scale", 2, "--cluster", "films")
    assert (status, "quota" in err) == (0, False)
    assert kubernetes.asked == kubernetes.rights


def test_submit(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.rights = rights("raycxr-submit")
    options, job = ["--rayjob", "--name", "night"], ["--", "runs", "s3://films/runs"]
    for where in (["--cluster", "films"], []):
        kubernetes.objects["rayjobs"].clear()
        status, out, err = call(capsys, "submit", *options, "--no-follow", *where, *job)
        assert (status, "night: created" in out) == (0, True), err
    kubernetes.objects["rayjobs"]["night"]["status"] = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    kubernetes.pods = [pod({"batch.kubernetes.io/job-name": "night"}, "Succeeded")]
    kubernetes.logs = {"one": "no runs\n"}
    status, _, err = call(capsys, "submit", *options, *job)
    assert (status, "no runs" in err) == (0, True), err
    assert kubernetes.asked == kubernetes.rights
