"""What a namespace's ResourceQuotas leave for further pods."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from raycxr.cluster.kubernetes_api import Kubernetes, KubernetesError

# Resources that a quota may name without the word `requests.`.
_SHORT = ("cpu", "memory", "ephemeral-storage")


def refuse_over_quota(kubernetes: Kubernetes, template: Mapping[str, Any], pods: int) -> None:
    """Raise where so many more pods would go over a quota.

    Quotas with scopes count some pods only; they are left to the API server.

    Raises
    ------
    KubernetesError
        Names the quota, the resource, and how many pods fit.
    """
    if pods <= 0:
        return
    need = pod_need(template)
    for quota in kubernetes.quotas():
        if quota.spec.scopes or quota.spec.scope_selector:
            continue
        status = quota.status
        for resource, limit in ((status.hard if status else None) or quota.spec.hard or {}).items():
            each = need.get(resource)
            if not each:
                continue
            used = parse_quantity(((status.used if status else None) or {}).get(resource, 0))
            left = parse_quantity(limit) - used
            if each * pods > left:
                fit = max(0, int(left // each))
                raise KubernetesError(
                    f"quota {quota.metadata.name} of namespace {kubernetes.namespace} allows {limit} of {resource}, "
                    f"{_plain(used)} are used, and {pods} more {'pod' if pods == 1 else 'pods'} would take "
                    f"{_plain(each * pods)}",
                    f"ask for at most {fit} more, or have the quota raised",
                )


def pod_need(template: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return what one pod counts against a quota, by the names that quotas use.

    Containers add up; those that run before them count where one alone wants more (Kubernetes, "Resource sharing
    within containers").
    """
    spec = template["spec"]
    need = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for side in ("requests", "limits"):
        running = _sum([_of(container, side) for container in spec["containers"]])
        started: dict[str, Decimal] = {}
        for container in spec.get("initContainers") or []:
            own = _of(container, side)
            if container.get("restartPolicy") == "Always":  # a sidecar, which stays
                running = _sum([running, own])
            else:
                started = {name: max(started.get(name, Decimal(0)), amount) for name, amount in own.items()} | {
                    name: amount for name, amount in started.items() if name not in own
                }
        for name in {*running, *started}:
            need[f"{side}.{name}"] = max(running.get(name, Decimal(0)), started.get(name, Decimal(0)))
    return need | {name: need[f"requests.{name}"] for name in _SHORT if f"requests.{name}" in need}


def _of(container: Mapping[str, Any], side: str) -> dict[str, Decimal]:
    """Requests or limits of a container; what is not requested is requested up to its limit."""
    resources = container.get("resources") or {}
    named = resources.get(side) or {}
    if side == "requests":
        named = {**(resources.get("limits") or {}), **named}
    return {name: parse_quantity(amount) for name, amount in named.items()}


def _sum(needs: list[dict[str, Decimal]]) -> dict[str, Decimal]:
    names = {name for need in needs for name in need}
    return {name: sum((need.get(name, Decimal(0)) for need in needs), Decimal(0)) for name in names}


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
