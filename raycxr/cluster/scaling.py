"""The number of workers in a group of a RayCluster: what may be changed, changed, and waited for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raycxr.cluster.kubernetes_api import ConflictError, ForbiddenError, Kubernetes, KubernetesError, UnreachableError
from raycxr.cluster.quota import refuse_over_quota
from raycxr.cluster.ray_cluster import PLURAL, QUEUE, find_cluster, find_group
from raycxr.errors import UsageError

# Kubernetes itself is made for no more nodes.
MOST_WORKERS = 5000
_KEYS = ("replicas", "minReplicas", "maxReplicas")
_ATTEMPTS = 5
_POLL_SECONDS = 1.0
_UNLIMITED = 2**31 - 1


@dataclass(frozen=True)
class Workers:
    """How many workers are asked for: `least` to `most`, which are the same for a fixed number."""

    least: int
    most: int
    is_range: bool


@dataclass(frozen=True)
class Scaling:
    """What scaling a group has changed.

    Attributes
    ----------
    changes : dict
        Key of the worker group -> value before and after; empty where all is as asked.
    """

    cluster: str
    group: str
    workers: Workers
    changes: dict[str, tuple[int, int]] = field(default_factory=dict)


def parse_workers(text: str) -> Workers:
    """Read `4` or `1:8`.

    Raises
    ------
    UsageError
        Neither, negative, the wrong way round, or more than a cluster of Kubernetes can have.
    """
    least, colon, most = text.partition(":")
    numbers = [least, most] if colon else [least]
    if any(re.fullmatch(r"-\d+", number) for number in numbers):
        raise UsageError(f"{text!r}: a number of workers cannot be negative", "give 0 or more; 0 ends all workers")
    if not all(re.fullmatch(r"[0-9]+", number) for number in numbers):
        raise UsageError(f"{text!r} is no number of workers", "write 4, or 1:8 with the autoscaler")
    low, high = int(least), int(most) if colon else int(least)
    if low > high:
        raise UsageError(f"{text!r}: {low} is more than {high}", f"write {high}:{low}")
    if high > MOST_WORKERS:
        raise UsageError(
            f"{high} workers are more than a Kubernetes cluster has nodes", f"ask for at most {MOST_WORKERS}"
        )
    return Workers(low, high, bool(colon))


def scale(
    kubernetes: Kubernetes, cluster: str | None, group: str | None, workers: Workers, say: Callable[[str], None]
) -> Scaling:
    """Change the number of workers of a group.

    The patch holds only where what it was reckoned from still stands; else it is reckoned anew.

    Raises
    ------
    KubernetesError
        Not found, not allowed, or forbidden by the manifest, Kueue or a quota.
    """
    for _ in range(_ATTEMPTS):
        resource = find_cluster(kubernetes, cluster)
        place = find_group(resource, group)
        own = resource["spec"]["workerGroupSpecs"][place]
        _refuse_forbidden(resource, own, workers)
        changes = _changes(own, workers, bool(resource["spec"].get("enableInTreeAutoscaling")))
        name = str(resource["metadata"]["name"])
        scaling = Scaling(name, str(own["groupName"]), workers, changes)
        if not changes:
            return scaling
        # A range that reaches no further than before brings no more pods than its lower end asks for.
        further = workers.most > int(own.get("maxReplicas", _UNLIMITED)) or not workers.is_range
        more = (workers.most if further else workers.least) - int(own.get("replicas") or 0)
        try:
            refuse_over_quota(kubernetes, own["template"], more * int(own.get("numOfHosts") or 1))
        except ForbiddenError as error:
            say(f"the quota is not looked at: {error.message}")
        try:
            kubernetes.patch(PLURAL, name, _patch(resource, place, changes))
        except ConflictError:
            continue
        if resource["spec"].get("enableInTreeAutoscaling") and not workers.is_range:
            say(f"the autoscaler may change it again; raycxr scale {workers.least}:{workers.least} holds it")
        return scaling
    raise ConflictError(
        f"RayCluster {cluster or ''} is changed by somebody else all the time", "look who does: kubectl get events"
    )


def _refuse_forbidden(resource: Mapping[str, Any], group: Mapping[str, Any], workers: Workers) -> None:
    metadata, spec = resource["metadata"], resource["spec"]
    called = f"RayCluster {metadata['name']}"
    queue = (metadata.get("labels") or {}).get(QUEUE)
    if queue and not spec.get("suspend"):
        raise KubernetesError(
            f"{called} was admitted by Kueue (queue {queue}) with a fixed size",
            "change the number in the overlay, delete the cluster and apply it again; Kueue admits the new size",
        )
    if group.get("suspend"):
        raise KubernetesError(f"worker group {group['groupName']} of {called} is suspended", "set its suspend to false")
    automatic = bool(spec.get("enableInTreeAutoscaling"))
    if workers.is_range and not automatic:
        raise KubernetesError(
            f"{called} has no autoscaler, which a range of workers needs",
            "give one number, or set enableInTreeAutoscaling (k8s/components/autoscaling)",
        )
    least, most = int(group.get("minReplicas") or 0), int(group.get("maxReplicas", _UNLIMITED))
    if automatic and not workers.is_range and not least <= workers.least <= most:
        raise KubernetesError(
            f"{called}: the autoscaler keeps worker group {group['groupName']} between {least} and {most}, "
            f"{workers.least} is outside",
            f"ask for a number between them, or move them: raycxr scale {workers.least}:{max(workers.least, most)}",
        )


def _changes(group: Mapping[str, Any], workers: Workers, automatic: bool) -> dict[str, tuple[int, int]]:
    """Keys that must change, with the values before and after."""
    before = {"replicas": 0, "minReplicas": 0, "maxReplicas": _UNLIMITED}
    before |= {key: int(group[key]) for key in _KEYS if group.get(key) is not None}
    if workers.is_range:
        after = {
            "replicas": min(max(before["replicas"], workers.least), workers.most),
            "minReplicas": workers.least,
            "maxReplicas": workers.most,
        }
    else:
        after = {"replicas": workers.least}
        if not automatic:
            # KubeRay would silently keep the number within the old bounds.
            after["minReplicas"] = min(before["minReplicas"], workers.least)
            after["maxReplicas"] = max(before["maxReplicas"], workers.least)
    return {key: (before[key], value) for key, value in after.items() if before[key] != value}


def _patch(resource: Mapping[str, Any], place: int, changes: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """JSON patch (RFC 6902): a list in a custom resource can only be changed by place, so the place is tested."""
    path = f"/spec/workerGroupSpecs/{place}"
    group = resource["spec"]["workerGroupSpecs"][place]
    operations = [{"op": "test", "path": f"{path}/groupName", "value": group["groupName"]}]
    operations += [
        {"op": "test", "path": f"{path}/{key}", "value": group[key]} for key in _KEYS if group.get(key) is not None
    ]
    operations += [{"op": "add", "path": f"{path}/{key}", "value": after} for key, (_, after) in changes.items()]
    return operations


def wait_for_workers(kubernetes: Kubernetes, scaling: Scaling, seconds: float, say: Callable[[str], None]) -> int:
    """Return the number of workers that are ready, once they are as many as asked for.

    Raises
    ------
    KubernetesError
        They are not within so many seconds; tells what their pods wait for.
    """
    labels = {"ray.io/cluster": scaling.cluster, "ray.io/group": scaling.group}
    deadline, told = time.monotonic() + seconds, ""
    cluster = find_cluster(kubernetes, scaling.cluster)
    group = cluster["spec"]["workerGroupSpecs"][find_group(cluster, scaling.group)]
    hosts = int(group.get("numOfHosts") or 1)
    least, most = scaling.workers.least * hosts, scaling.workers.most * hosts
    state = "no answer from the API server yet"
    while True:
        try:
            pods = [pod for pod in kubernetes.pods(labels) if pod.metadata.deletion_timestamp is None]
            ready = sum(_is_ready(pod) for pod in pods)
            if least <= ready <= most and len(pods) <= most:
                return ready // hosts
            state = f"{ready} of {least} ready" + next((f"; {why}" for why in map(_why_not, pods) if why), "")
        except UnreachableError as error:
            state = error.message
        if state != told:
            say(f"{scaling.group}: {state}")
            told = state
        if time.monotonic() > deadline:
            raise KubernetesError(
                f"worker group {scaling.group} of RayCluster {scaling.cluster} is not as asked for after "
                f"{seconds / 60:.3g} min: {state}",
                f"see: kubectl -n {kubernetes.namespace} get pods,events -l ray.io/cluster={scaling.cluster}",
            )
        time.sleep(_POLL_SECONDS)


def _is_ready(pod: Any) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in (pod.status.conditions or []))


def _why_not(pod: Any) -> str | None:
    """What a pod that is not ready waits for: a node, an image, its own start."""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return " ".join((condition.message or condition.reason or "").split())
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = status.state.waiting if status.state else None
        if waiting is not None and waiting.reason not in (None, "PodInitializing", "ContainerCreating"):
            return f"{waiting.reason}: {' '.join((waiting.message or '').split())}"
    return None
