"""`raycxr submit --rayjob` against a server that checks requests as Kubernetes defines them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cluster_manifest import ray_cluster
from command_line import call
from kubernetes_server import KubernetesServer

from raycxr.cluster.kubeconfig import connect_kubernetes
from raycxr.cluster.kubernetes_api import KubernetesError
from raycxr.cluster.ray_job_log import RayJobLog

ROOT = Path(__file__).parents[2]
CONFIG = "train: {epochs: 3}\nstorage: {uri: s3://films/runs}\ndataset: {uri: s3://films/data}\n"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, str]:
    status, out, err = call(capsys, "submit", "--rayjob", "--json", *arguments)
    error: dict[str, str] = json.loads(out)["error"]
    assert status == (1 if error["kind"] in ("kubernetes", "job") else 2)
    assert f"raycxr: {error['message']}" in err.splitlines()
    return error


def submitted(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    status, out, err = call(capsys, "submit", "--rayjob", "--json", *arguments)
    assert status == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def created(server: KubernetesServer) -> dict[str, Any]:
    (request,) = [request for request in server.requests if request.method == "POST"]
    assert request.path == "/apis/ray.io/v1/namespaces/films/rayjobs"
    body: dict[str, Any] = request.body
    return body


def ended(server: KubernetesServer, job: str, **status: Any) -> None:
    """What KubeRay writes while a job runs and ends."""

    def write() -> None:
        while job not in server.objects["rayjobs"]:
            time.sleep(0.02)
        resource = server.objects["rayjobs"][job]
        resource["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "films-1"}
        labels = {"batch.kubernetes.io/job-name": job}
        metadata = {"name": f"{job}-abcde", "labels": labels, "creationTimestamp": "2026-11-21T00:00:00Z"}
        server.logs[f"{job}-abcde"] = "epoch 1/2\nepoch 2/2\n"
        server.pods = [{"metadata": metadata, "status": {"phase": "Succeeded"}}]
        time.sleep(0.2)
        resource["status"] = status

    threading.Thread(target=write, daemon=True).start()


def test_a_cluster_of_its_own(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(CONFIG)
    kubernetes.objects["rayclusters"]["films"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
    kubernetes.objects["rayclusters"]["films"]["spec"]["suspend"] = True
    ended(kubernetes, "night", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    variables = ["--env", "AWS_REGION=eu-central-1", "--env", "LR=1e3", "--env", "Y=y"]
    options = ["--rayjob", "--name", "night", *variables, "--deadline", "2", "--json"]
    status, out, err = call(capsys, "submit", *options, "--", "train", "x.yaml", "loss={bce: 1, dice: 2}")
    assert status == 0, err
    document = json.loads(out)
    assert (document["submission_id"], document["status"]) == ("night", "SUCCEEDED")
    assert document["address"] == f"{kubernetes.url}/apis/ray.io/v1/namespaces/films/rayjobs/night"
    assert err.count("epoch 1/2") == err.count("epoch 2/2") == 1
    assert "RayJob night: Complete, the job SUCCEEDED" in err
    body = created(kubernetes)
    check_schema(body)
    spec = body["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["activeDeadlineSeconds"] == 7200
    # As text in every YAML, also what some take for numbers or for yes.
    assert json.loads(spec["runtimeEnvYAML"]) == {"env_vars": {"AWS_REGION": "eu-central-1", "LR": "1e3", "Y": "y"}}
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "suspend" not in spec["rayClusterSpec"]
    assert spec["rayClusterSpec"]["workerGroupSpecs"][1]["replicas"] == 2
    submitter = spec["submitterPodTemplate"]["spec"]
    assert submitter["securityContext"]["runAsNonRoot"] is True
    assert submitter["containers"][0]["image"] == "registry.example/raycxr:0.1.0"
    assert submitter["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
    policies = yaml.safe_load_all((ROOT / "k8s" / "base" / "network.yaml").read_text())
    (policy,) = (policy for policy in policies if policy["metadata"]["name"] == "submitter")
    assert spec["submitterPodTemplate"]["metadata"]["labels"] == policy["spec"]["podSelector"]["matchLabels"]
    assert body["metadata"]["annotations"]["raycxr/command"] == "raycxr train x.yaml 'loss={bce: 1, dice: 2}'"


def check_schema(body: dict[str, Any]) -> None:
    """Check against KubeRay's own strict schema, where it is at hand."""
    folder = os.environ.get("KUBERAY_SCHEMAS")
    if folder is not None:
        # Checking the schema itself, which is large, would take many times as long.
        schema = json.loads((Path(folder) / "rayjob-v1.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(body)


def test_on_a_cluster_that_exists(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    arguments = ["--cluster", "films", "--no-follow", "--gpus", "1", "--", "runs", "s3://films/runs"]
    document = submitted(capsys, *arguments)
    assert document["status"] == "PENDING"
    assert document["submission_id"].startswith("runs-")
    body = created(kubernetes)
    check_schema(body)
    spec = body["spec"]
    assert spec["clusterSelector"] == {"ray.io/cluster": "films"}
    assert spec["entrypointNumGpus"] == 1
    assert spec["entrypoint"] == "python -m raycxr runs s3://films/runs"
    # KubeRay refuses them beside a selector.
    assert not {"rayClusterSpec", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "runtimeEnvYAML"} & set(spec)


def test_like_a_manifest(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer, tmp_path: Path) -> None:
    manifest = tmp_path / "cluster.yaml"
    cluster = {"apiVersion": "ray.io/v1", "kind": "RayCluster", **ray_cluster("other")}
    cluster["spec"]["workerGroupSpecs"][1]["replicas"] = 7
    manifest.write_text(yaml.safe_dump_all([{"kind": "Namespace", "metadata": {"name": "films"}}, cluster]))
    submitted(capsys, "--like", manifest, "--no-follow", "--", "runs", "s3://films/runs")
    assert created(kubernetes)["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]["replicas"] == 7
    for text, part in (("kind: Namespace\n", "holds 0 RayClusters (Namespace)"), ("{", "is no manifest")):
        manifest.write_text(text)
        assert part in refused(capsys, "--like", manifest, "--", "runs", "s3://films/runs")["message"]
    assert "cannot read" in refused(capsys, "--like", "absent.yaml", "--", "runs", "s3://films/runs")["message"]


def test_while_the_cluster_of_another_job_is_there(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer
) -> None:
    job = ["--no-follow", "--", "runs", "s3://films/runs"]
    submitted(capsys, "--name", "night", *job)
    assert set(kubernetes.objects["rayclusters"]) == {"films", "night-x7k2p"}
    submitted(capsys, "--name", "day", *job)
    # What was submitted is found, also where what it was made after is gone.
    kubernetes.objects["rayclusters"].clear()
    submitted(capsys, "--name", "night", *job)
    assert sum(request.method == "POST" for request in kubernetes.requests) == 2
    assert refused(capsys, "--name", "third", *job)["message"] == "no RayCluster in namespace films"


def test_the_same_name_twice(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    ended(kubernetes, "once", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    first = submitted(capsys, "--name", "once", "--", "runs", "s3://films/runs")
    arguments = ["--rayjob", "--name", "once", "--json", "--", "runs", "s3://films/runs"]
    status, out, err = call(capsys, "submit", *arguments)
    assert (status, json.loads(out)) == (0, first)
    assert "there already (SUCCEEDED); it is not started twice" in err
    assert len(kubernetes.objects["rayjobs"]) == 1
    error = refused(capsys, "--name", "once", "--", "runs", "s3://films/other")
    assert "another command: raycxr runs s3://films/runs" in error["message"]


def test_a_job_that_fails(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    ended(kubernetes, "bad", jobDeploymentStatus="Failed", jobStatus="FAILED", message="exit code 1\nepoch 2/2")
    status, out, err = call(capsys, "submit", "--rayjob", "--name", "bad", "--json", "--", "runs", "s3://films/runs")
    document = json.loads(out)
    assert status == 1
    assert document["status"] == "FAILED"
    assert document["last_lines"] == ["epoch 1/2", "epoch 2/2"]
    assert document["error"]["message"] == "the RayJob bad failed: exit code 1 epoch 2/2"
    assert "epoch 2/2" in err


def test_a_deadline_ends_a_job(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    # The cluster still takes it for running.
    ended(kubernetes, "late", jobDeploymentStatus="Failed", jobStatus="RUNNING", reason="DeadlineExceeded")
    error = refused(capsys, "--name", "late", "--", "runs", "s3://films/runs")
    assert "the RayJob late failed: DeadlineExceeded" in error["message"]


def test_a_log_that_may_not_be_read(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.rights = {("list", "rayclusters"), ("create", "rayjobs"), ("get", "rayjobs")}
    ended(kubernetes, "dark", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    status, _, err = call(capsys, "submit", "--rayjob", "--name", "dark", "--", "runs", "s3://films/runs")
    assert status == 0
    assert "the log is not shown: no right to list pods in namespace films" in err
    kubernetes.rights = {("list", "rayclusters")}
    assert "no right to create rayjobs.ray.io" in refused(capsys, "--", "runs", "s3://films/runs")["message"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--ship", "--", "runs", "s3://films/runs"], "--ship does not go with --rayjob"),
        (["--address", "http://x:8265", "--", "runs", "s3://films/runs"], "--address does not go with --rayjob"),
        (["--name", "Night_1", "--", "runs", "s3://films/runs"], "no name of a RayJob"),
        (["--cluster", "films", "--like", "films", "--", "runs", "s3://films/runs"], "exclude each other"),
        *(
            (["--deadline", hours, "--", "runs", "s3://films/runs"], "is no number of hours")
            for hours in ("-3", "0", "nan", "inf", "0.0001", "1e9")
        ),
        *(
            ([option, "", "--", "runs", "s3://films/runs"], "it is empty")
            for option in ("--name", "--cluster", "--like", "--namespace", "--context")
        ),
        (["--cpus", "inf", "--", "runs", "s3://films/runs"], "Invalid value for '--cpus'"),
        (["--like", "absent", "--", "runs", "s3://films/runs"], "no RayCluster absent"),
        (["--env", "GREETING=$HOME", "--", "runs", "s3://films/runs"], "let a shell change this value"),
        (["--cluster", "absent", "--", "runs", "s3://films/runs"], "no RayCluster absent"),
    ],
)
def test_every_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer, arguments: list[str], part: str
) -> None:
    error = refused(capsys, *arguments)
    assert part in error["message"]
    assert error["remedy"]
    assert kubernetes.objects["rayjobs"] == {}


def test_what_is_for_rayjobs_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--cluster", "--like", "--namespace", "--context"):
        status, _, err = call(capsys, "submit", option, "x", "--", "runs", "s3://films/runs")
        assert status == 2
        assert "is for RayJobs" in err


def follow(kubernetes: KubernetesServer, patience: float) -> tuple[RayJobLog, list[str], Callable[[], dict[str, Any]]]:
    kubernetes.add("rayjobs", {"metadata": {"name": "watched"}, "spec": {"entrypoint": "x"}})
    told: list[str] = []
    log = RayJobLog(connect_kubernetes(), "watched", lambda text: None, told.append, patience)
    return log, told, log.follow


def test_a_resource_that_goes_on_after_its_job(kubernetes: KubernetesServer) -> None:
    _, _, run = follow(kubernetes, patience=0.1)
    kubernetes.objects["rayjobs"]["watched"]["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    metadata = {"name": "p", "labels": {"batch.kubernetes.io/job-name": "watched"}}
    metadata["creationTimestamp"] = "2026-11-21T00:00:00Z"
    kubernetes.pods, kubernetes.logs = [{"metadata": metadata, "status": {"phase": "Failed"}}], {"p": "head is gone\n"}
    with pytest.raises(KubernetesError, match="still RUNNING, but the pod that watches it ended"):
        run()


def test_a_resource_that_is_deleted(kubernetes: KubernetesServer) -> None:
    _, _, run = follow(kubernetes, patience=5)
    threading.Timer(0.5, kubernetes.objects["rayjobs"].clear).start()
    with pytest.raises(KubernetesError, match="RayJob watched was deleted"):
        run()


def test_an_api_server_that_stays_away(kubernetes: KubernetesServer) -> None:
    _, told, run = follow(kubernetes, patience=1)
    threading.Timer(0.5, setattr, (kubernetes, "is_away", True)).start()
    with pytest.raises(KubernetesError, match=r"no answer from .* watched may still run"):
        run()
    assert sum("lost contact" in line for line in told) == 1


def test_a_log_that_is_lost_with_its_node(kubernetes: KubernetesServer) -> None:
    log, told, run = follow(kubernetes, patience=0.1)
    metadata = {"name": "p", "labels": {"batch.kubernetes.io/job-name": "watched"}}
    metadata["creationTimestamp"] = "2026-11-21T00:00:00Z"
    kubernetes.pods = [{"metadata": metadata, "status": {"phase": "Succeeded"}}]
    kubernetes.objects["rayjobs"]["watched"]["status"] = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    for failure in ((500, "InternalError", "dial tcp 10.0.0.7:10250: i/o timeout"), None):
        kubernetes.log_failure = failure
        assert log.error(run()) is None
    assert [line for line in told if "cannot be read any more" in line] != []


def test_a_sealed_command_passes_two_shells() -> None:
    """KubeRay puts an entrypoint into a script, and Ray what comes of it into another."""
    from raycxr.cluster.command import Command

    text = "optimizer: {lr: 0.5}  # $HOME `date` \"'\n"
    command = Command(("config", "conf/x y.yaml", "train.name=it's", "loss={bce: 1}"), {"conf/x y.yaml": text})
    script = f"echo {command.sealed_entrypoint} ;"
    once = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(once, shell=True, capture_output=True, text=True, env=environment, check=True)
    resolved = yaml.safe_load(done.stdout)
    assert (resolved["optimizer"]["lr"], resolved["train"]["name"], resolved["loss"]) == (0.5, "it's", {"bce": 1.0})
    assert shlex.split(command.entrypoint(ship=True))[3:] == list(command.arguments)
