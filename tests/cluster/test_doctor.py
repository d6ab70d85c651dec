"""`raycxr doctor`: what is absent and not asked for is not wrong; what is wrong has a remedy."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from command_line import answer, call
from kubernetes_server import KubernetesServer
from ray_head import free_port

from raycxr.cluster.doctor import SHM_BYTES, Check, examine

# A container has 64 MB unless told otherwise, which doctor rightly finds too small.
has_shared_memory = pytest.mark.skipif(
    shutil.disk_usage("/dev/shm").total < SHM_BYTES, reason="/dev/shm of this machine is smaller than Ray wants it"
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a cluster, a kubeconfig or a token."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def found(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@has_shared_memory
def test_a_machine_with_nothing_asked(capsys: pytest.CaptureFixture[str]) -> None:
    document = answer(capsys, "doctor")
    assert set(document) == {"ok", "checks"}
    assert document["ok"] is True
    names = [check["name"] for check in document["checks"]]
    assert names == ["python", "raycxr", "ray", "torch", "gpu", "shm", "kubernetes"]
    assert all(set(check) == {"name", "ok", "detail", "remedy"} for check in document["checks"])
    assert all(check["ok"] and not check["remedy"] for check in document["checks"])
    status, out, err = call(capsys, "doctor")
    assert (status, err) == (0, "")
    assert "ok     ray" in out


@has_shared_memory
def test_storage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = answer(capsys, "doctor", "--storage", tmp_path / "runs")
    assert "put, get, list and delete" in next(c["detail"] for c in document["checks"] if c["name"] == "storage")
    assert list((tmp_path / "runs").iterdir()) == []
    status, out, err = call(capsys, "doctor", "--storage", "/proc/runs", "--json")
    document = json.loads(out)
    assert (status, document["ok"]) == (1, False)
    (check,) = [check for check in document["checks"] if not check["ok"]]
    assert check["name"] == "storage"
    assert "/proc/runs" in check["detail"]
    assert check["remedy"]
    assert document["error"]["message"].endswith("found something wrong: storage")
    assert "Traceback" not in err


@pytest.mark.slow
def test_object_storage(s3_folder: str) -> None:
    checks = found(examine(f"{s3_folder}/runs", None))
    assert (checks["storage"].ok, checks["clock"].ok) == (True, True)
    assert checks["clock"].detail == "within a minute of the storage's"


def test_a_small_shared_memory() -> None:
    # Of the size that this has: none.
    check = found(examine(None, None, shm=Path("/proc")))["shm"]
    assert not check.ok
    assert "emptyDir" in check.remedy
    assert found(examine(None, None, shm=Path("/absent")))["shm"].ok


@has_shared_memory
def test_a_cluster_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "doctor", "--address", f"http://127.0.0.1:{free_port()}", "--json")
    document = json.loads(out)
    assert status == 1
    (check,) = [check for check in document["checks"] if not check["ok"]]
    assert check["name"] == "cluster"
    assert "no Ray cluster answers" in check["detail"]


def test_rights_in_kubernetes(kubernetes: KubernetesServer) -> None:
    kubernetes.rights = {("get", "rayclusters"), ("list", "rayclusters")}
    check = found(examine(None, None))["kubernetes"]
    assert check.ok
    assert "may get rayclusters, list rayclusters; may not patch rayclusters" in check.detail
    kubernetes.has_kuberay = False
    check = found(examine(None, None))["kubernetes"]
    assert not check.ok
    assert "does not know the kind RayCluster" in check.detail


def test_a_kubeconfig_that_leads_nowhere(kubernetes: KubernetesServer) -> None:
    kubernetes.is_away = True
    assert os.environ["KUBECONFIG"]
    check = found(examine(None, None))["kubernetes"]
    assert not check.ok
    assert "no Kubernetes API server answers" in check.detail
