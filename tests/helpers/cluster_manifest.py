"""A RayCluster as users have it, for tests."""

from __future__ import annotations

from typing import Any


def ray_cluster(name: str = "films", autoscaling: bool = False, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A RayCluster with a head that trains nothing, a group for data and one with GPUs."""

    def pod(resources: dict[str, Any]) -> dict[str, Any]:
        container = {
            "name": "ray",
            "image": "registry.example/raycxr:0.1.0",
            "imagePullPolicy": "IfNotPresent",
            "resources": resources,
            "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
        }
        security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
        return {"spec": {"serviceAccountName": "raycxr", "securityContext": security, "containers": [container]}}

    def group(name: str, replicas: int, limits: dict[str, Any]) -> dict[str, Any]:
        counts = {"replicas": replicas, "minReplicas": 1, "maxReplicas": 4, "numOfHosts": 1}
        return {"groupName": name, **counts, "rayStartParams": {}, "template": pod({"limits": limits})}

    spec: dict[str, Any] = {
        "rayVersion": "2.60.0",
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": pod({"limits": {"cpu": "2"}})},
        "workerGroupSpecs": [
            group("data", 1, {"cpu": "4", "memory": "8Gi"}),
            group("training", 2, {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": 1}),
        ],
    }
    if autoscaling:
        spec["enableInTreeAutoscaling"] = True
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}
