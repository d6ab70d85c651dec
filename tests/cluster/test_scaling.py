"""`raycxr scale` against a server that checks verb, path, content type and body as Kubernetes defines them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_manifest import ray_cluster
from command_line import answer, call
from kubernetes_server import KubernetesServer

PLACE = "/apis/ray.io/v1/namespaces/films/rayclusters"


def training(server: KubernetesServer, name: str = "films") -> dict[str, Any]:
    group: dict[str, Any] = server.objects["rayclusters"][name]["spec"]["workerGroupSpecs"][1]
    return group


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, str]:
    """Error of a call that fails: one line on standard error, one more with the remedy."""
    status, out, err = call(capsys, "scale", *arguments, "--json")
    error: dict[str, str] = json.loads(out)["error"]
    assert status == (2 if error["kind"] == "usage" else 1)
    assert err.splitlines()[-2:] == [f"raycxr: {error['message']}", f"        {error['remedy']}"]
    assert "Traceback" not in err
    assert error["remedy"]
    return error


def patches(server: KubernetesServer) -> list[Any]:
    return [request for request in server.requests if request.method == "PATCH"]


def test_a_fixed_number(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    document = answer(capsys, "scale", 4)
    assert document == {
        "cluster": "films",
        "group": "training",
        "namespace": "films",
        "replicas": 4,
        "changes": {"replicas": {"from": 2, "to": 4}},
    }
    (patch,) = patches(kubernetes)
    assert patch.path == f"{PLACE}/films"
    assert patch.content_type == "application/json-patch+json"
    at = "/spec/workerGroupSpecs/1"
    assert patch.body == [
        {"op": "test", "path": f"{at}/groupName", "value": "training"},
        {"op": "test", "path": f"{at}/replicas", "value": 2},
        {"op": "test", "path": f"{at}/minReplicas", "value": 1},
        {"op": "test", "path": f"{at}/maxReplicas", "value": 4},
        {"op": "add", "path": f"{at}/replicas", "value": 4},
    ]
    status, out, _ = call(capsys, "scale", 3)
    assert (status, out.strip()) == (0, "RayCluster films, group training: replicas 4 -> 3")
    _, out, _ = call(capsys, "scale", 3)
    assert out.strip() == "RayCluster films, group training: as asked already"
    assert len(patches(kubernetes)) == 2


def test_without_an_autoscaler_the_bounds_move_too(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer
) -> None:
    # KubeRay would keep the number within them, whoever asks.
    answer(capsys, "scale", 6, "--group", "training", "--cluster", "films")
    assert [training(kubernetes)[key] for key in ("replicas", "minReplicas", "maxReplicas")] == [6, 1, 6]
    answer(capsys, "scale", 0)
    assert [training(kubernetes)[key] for key in ("replicas", "minReplicas", "maxReplicas")] == [0, 0, 6]


def test_a_range_with_the_autoscaler(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.add("rayclusters", ray_cluster("auto", autoscaling=True))
    document = answer(capsys, "scale", "3:8", "--cluster", "auto")
    assert (document["min"], document["max"]) == (3, 8)
    assert "replicas" not in document
    assert [training(kubernetes, "auto")[key] for key in ("replicas", "minReplicas", "maxReplicas")] == [3, 3, 8]
    status, _, err = call(capsys, "scale", "5", "--cluster", "auto")
    assert status == 0
    assert "scale 5:5 holds it" in err
    assert training(kubernetes, "auto")["maxReplicas"] == 8
    error = refused(capsys, "9", "--cluster", "auto")
    assert "between 3 and 8, 9 is outside" in error["message"]
    assert "scale 9:9" in error["remedy"]


def test_what_the_manifest_or_kueue_forbids(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    assert "has no autoscaler" in refused(capsys, "1:8")["message"]
    queued = ray_cluster("queued", labels={"kueue.x-k8s.io/queue-name": "gpus"})
    kubernetes.add("rayclusters", queued)
    assert "admitted by Kueue (queue gpus)" in refused(capsys, "3", "--cluster", "queued")["message"]
    kubernetes.objects["rayclusters"]["queued"]["spec"]["suspend"] = True
    assert answer(capsys, "scale", 3, "--cluster", "queued")["replicas"] == 3
    assert len(patches(kubernetes)) == 1


def quota(hard: dict[str, str], used: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "team"}, "spec": {"hard": hard, **spec}, "status": {"hard": hard, "used": used}}


@pytest.mark.parametrize(
    ("hard", "used", "part"),
    [
        ({"requests.nvidia.com/gpu": "4"}, {"requests.nvidia.com/gpu": "3"}, "allows 4 of requests.nvidia.com/gpu"),
        ({"pods": "5"}, {"pods": "4"}, "allows 5 of pods, 4 are used, and 2 more pods would take 2"),
        # What is not requested is requested up to its limit.
        ({"cpu": "30"}, {"cpu": "14500m"}, "allows 30 of cpu, 14.5 are used, and 2 more pods would take 16"),
        ({"limits.memory": "100Gi"}, {"limits.memory": "64Gi"}, "limits.memory"),
    ],
)
def test_the_quota(
    capsys: pytest.CaptureFixture[str],
    kubernetes: KubernetesServer,
    hard: dict[str, str],
    used: dict[str, str],
    part: str,
) -> None:
    kubernetes.quotas = [quota(hard, used)]
    error = refused(capsys, "4")
    assert part in error["message"]
    assert "quota team of namespace films" in error["message"]
    assert "at most 1 more" in error["remedy"] or "at most 0 more" in error["remedy"]
    assert patches(kubernetes) == []
    # One more fits all but the GPUs' worth of a second one; fewer always do.
    assert answer(capsys, "scale", 1)["replicas"] == 1


def test_a_quota_with_a_scope_is_left_to_kubernetes(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer
) -> None:
    kubernetes.quotas = [quota({"pods": "1"}, {"pods": "1"}, scopes=["BestEffort"])]
    assert answer(capsys, "scale", 4)["replicas"] == 4


def test_a_quota_that_may_not_be_read(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.rights = {("list", "rayclusters"), ("patch", "rayclusters")}
    status, _, err = call(capsys, "scale", 4)
    assert status == 0
    assert "the quota is not looked at: no right to list resourcequotas in namespace films" in err


def test_somebody_else_is_faster(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    def once(resource: dict[str, Any]) -> None:
        resource["spec"]["workerGroupSpecs"].reverse()
        resource["spec"]["workerGroupSpecs"][0]["replicas"] = 3
        kubernetes.before_patch = None

    kubernetes.before_patch = once
    document = answer(capsys, "scale", 4)
    assert document["changes"] == {"replicas": {"from": 3, "to": 4}}
    groups = kubernetes.objects["rayclusters"]["films"]["spec"]["workerGroupSpecs"]
    assert [(group["groupName"], group["replicas"]) for group in groups] == [("training", 4), ("data", 1)]


def test_somebody_else_never_stops(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    def always(resource: dict[str, Any]) -> None:
        resource["spec"]["workerGroupSpecs"][1]["replicas"] += 1

    kubernetes.before_patch = always
    assert "changed by somebody else" in refused(capsys, "0")["message"]


@pytest.mark.parametrize("workers", ["-1", "-4:2", "2:1", "four", "1:", "1.5", "100000", "1:100000", ""])
def test_numbers_that_are_none(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer, workers: str) -> None:
    assert refused(capsys, workers)["kind"] == "usage"
    assert kubernetes.requests == []


def test_what_is_not_there(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.add("rayclusters", ray_cluster("second"))
    error = refused(capsys, "3")
    assert error["message"] == "2 RayClusters in namespace films"
    assert error["remedy"] == "choose with --cluster: films, second"
    error = refused(capsys, "3", "--cluster", "third")
    assert error["message"] == "no RayCluster third in namespace films"
    assert "films, second" in error["remedy"]
    error = refused(capsys, "3", "--cluster", "films", "--group", "gpus")
    assert "no worker group 'gpus'" in error["message"]
    assert "data, training" in error["remedy"]
    assert "no RayCluster in namespace empty" in refused(capsys, "3", "--namespace", "empty")["message"]
    kubernetes.has_kuberay = False
    error = refused(capsys, "3")
    assert "does not know the kind RayCluster of ray.io/v1" in error["message"]
    assert "helm install kuberay-operator" in error["remedy"]


def test_a_group_that_is_not_clear(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    del training(kubernetes)["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert refused(capsys, "3")["remedy"] == "choose with --group: data, training"


def test_no_right(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.rights = {("list", "rayclusters"), ("list", "resourcequotas")}
    error = refused(capsys, "3")
    assert error["message"] == (
        "no right to patch rayclusters.ray.io in namespace films (as system:serviceaccount:films:submitter)"
    )
    assert "auth can-i patch rayclusters.ray.io -n films" in error["remedy"]
    kubernetes.rights = set()
    assert "no right to list rayclusters.ray.io" in refused(capsys, "3")["message"]


def test_kubeconfigs_that_lead_nowhere(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(capsys, "3", "--context", "production")
    assert "has no context 'production'" in error["message"]
    assert error["remedy"] == "choose one of away, films-admin"
    error = refused(capsys, "3", "--context", "away")
    assert "no Kubernetes API server answers at http://127.0.0.1:9 (context away)" in error["message"]
    monkeypatch.setenv("KUBECONFIG", str(kubernetes.write_kubeconfig(tmp_path / "old", token="expired")))
    assert "does not know who you are" in refused(capsys, "3")["message"]
    for content in ("{", "clusters: 3\n", ""):
        (tmp_path / "broken").write_text(content)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "broken"))
        assert f"the kubeconfig {tmp_path}/broken cannot be used" in refused(capsys, "3")["message"]
    document = yaml.safe_load(kubernetes.write_kubeconfig(tmp_path / "own").read_text())
    document["users"][0]["user"] = {
        "exec": {"command": "absent-login", "apiVersion": "client.authentication.k8s.io/v1"}
    }
    (tmp_path / "own").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "own"))
    assert "logs in by absent-login, which is not installed" in refused(capsys, "3")["message"]
    monkeypatch.setenv("KUBECONFIG", str(tmp_path))
    assert f"the kubeconfig {tmp_path} cannot be used" in refused(capsys, "3")["message"]
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert "no kubeconfig at" in refused(capsys, "3")["message"]


def test_a_kubeconfig_without_a_current_context(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load(kubernetes.write_kubeconfig(tmp_path / "own").read_text())
    del document["current-context"]
    (tmp_path / "own").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "own"))
    assert answer(capsys, "scale", 3, "--context", "films-admin")["replicas"] == 3
    assert "has no current context" in refused(capsys, "3")["message"]


def test_an_answer_that_is_no_document(
    capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that wants a login answers with its page."""
    monkeypatch.setattr(kubernetes, "answer", lambda request, token: (200, "<html>log in</html>"))
    assert "is no API server of Kubernetes" in refused(capsys, "3")["message"]


def pod(name: str, ready: bool, message: str = "") -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    if message:
        conditions.append({"type": "PodScheduled", "status": "False", "message": message, "reason": "Unschedulable"})
    labels = {"ray.io/cluster": "films", "ray.io/group": "training"}
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": "Pending", "conditions": conditions}}


def test_waiting(capsys: pytest.CaptureFixture[str], kubernetes: KubernetesServer) -> None:
    kubernetes.pods = [pod("a", True), pod("b", True), pod("c", True)]
    kubernetes.pods[2]["metadata"]["labels"]["ray.io/group"] = "data"
    assert answer(capsys, "scale", 2, "--wait")["ready"] == 2
    kubernetes.pods[1] = pod("b", False, "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    error = refused(capsys, "2", "--wait", "--timeout", "0")
    assert "1 of 2 ready; 0/3 nodes are available: 3 Insufficient nvidia.com/gpu." in error["message"]
