"""A namespace with a RayCluster, on a server that answers as Kubernetes does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_manifest import ray_cluster
from kubernetes_server import KubernetesServer


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesServer]:
    """The server, to which the kubeconfig of this test leads."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with KubernetesServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_kubeconfig(tmp_path / "kubeconfig")))
        server.add("rayclusters", ray_cluster())
        yield server
        assert server.mistakes == []
