"""A RayCluster resource: found by name, and its worker groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raycxr.cluster.kubernetes_api import AbsentError, Kubernetes, KubernetesError

PLURAL = "rayclusters"
QUEUE = "kueue.x-k8s.io/queue-name"


# KubeRay's label on the cluster of a job, which comes and goes with it.
_MADE_FOR = "ray.io/originated-from-crd"


def find_cluster(kubernetes: Kubernetes, name: str | None, option: str = "--cluster") -> dict[str, Any]:
    """Return the RayCluster of this name, or the only one of the namespace that was not made for a job.

    Parameters
    ----------
    option : str
        By which the user may name one, for the remedy.

    Raises
    ------
    KubernetesError
        There is none, or without a name several; lists those that exist.
    """
    where = f"namespace {kubernetes.namespace}"
    if name is not None:
        try:
            return kubernetes.get(PLURAL, name)
        except AbsentError:
            names = [cluster["metadata"]["name"] for cluster in kubernetes.list(PLURAL)]
            raise AbsentError(f"no RayCluster {name} in {where}", _choice(names, option)) from None
    clusters = [cluster for cluster in kubernetes.list(PLURAL) if not _is_of_a_job(cluster)]
    if len(clusters) != 1:
        names = [cluster["metadata"]["name"] for cluster in clusters]
        count = f"{len(names)} RayClusters" if names else "no RayCluster"
        raise AbsentError(f"{count} in {where}", _choice(names, option))
    # Items of a list have no kind of their own.
    return clusters[0]


def _is_of_a_job(cluster: Mapping[str, Any]) -> bool:
    metadata = cluster["metadata"]
    owners = metadata.get("ownerReferences") or []
    return (metadata.get("labels") or {}).get(_MADE_FOR) == "RayJob" or any(one["kind"] == "RayJob" for one in owners)


def _choice(names: list[str], option: str) -> str:
    if not names:
        return "name another --namespace, or apply one: kubectl apply -k k8s/overlays/gpu"
    return f"choose with {option}: {', '.join(sorted(names))}"


def find_group(cluster: Mapping[str, Any], name: str | None) -> int:
    """Return the place of a worker group: by its name, else the only one, else the only one with GPUs.

    Raises
    ------
    KubernetesError
        Unknown or not clear; lists those that exist.
    """
    groups = cluster["spec"].get("workerGroupSpecs") or []
    names = [str(group["groupName"]) for group in groups]
    called = f"RayCluster {cluster['metadata']['name']}"
    if not names:
        raise KubernetesError(f"{called} has no worker groups", "add one to its manifest")
    if name is not None:
        if name not in names:
            raise KubernetesError(f"{called} has no worker group {name!r}", f"choose one of {', '.join(names)}")
        return names.index(name)
    if len(names) == 1:
        return 0
    with_gpus = [place for place, group in enumerate(groups) if wants_gpus(group)]
    if len(with_gpus) != 1:
        raise KubernetesError(f"{called} has several worker groups", f"choose with --group: {', '.join(names)}")
    return with_gpus[0]


def wants_gpus(group: Mapping[str, Any]) -> bool:
    """Whether the pods of a group ask for GPUs, of whatever maker."""
    return any(
        resource.endswith("/gpu") and str(amount) != "0"
        for container in group["template"]["spec"]["containers"]
        for side in ("limits", "requests")
        for resource, amount in ((container.get("resources") or {}).get(side) or {}).items()
    )
