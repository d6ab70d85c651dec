"""`raycxr scale`: the number of GPU workers of a RayCluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Context, Debug, Json, Namespace, not_empty


def scale(
    workers: Annotated[
        str, typer.Argument(metavar="WORKERS", help="4, or 1:8 with the autoscaler.", show_default=False)
    ],
    cluster: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="RayCluster.", show_default="the namespace's only one", callback=not_empty),
    ] = None,
    namespace: Namespace = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Worker group.",
            show_default="the one with GPUs, or the only one",
            callback=not_empty,
        ),
    ] = None,
    kube_context: Context = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the workers are ready.")] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="MINUTES", help="How long --wait waits.")] = 15,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Scale the GPU workers of a RayCluster."""
    from raycxr.cluster.kubeconfig import connect_kubernetes
    from raycxr.cluster.scaling import parse_workers, wait_for_workers
    from raycxr.cluster.scaling import scale as scale_group

    asked = parse_workers(workers)
    kubernetes = connect_kubernetes(kube_context, namespace)
    scaling = scale_group(kubernetes, cluster, group, asked, tell)
    changes = ", ".join(f"{key} {before} -> {after}" for key, (before, after) in scaling.changes.items())
    text = f"RayCluster {scaling.cluster}, group {scaling.group}: {changes or 'as asked already'}"
    document: dict[str, Any] = {
        "cluster": scaling.cluster,
        "group": scaling.group,
        "namespace": kubernetes.namespace,
        **({"min": asked.least, "max": asked.most} if asked.is_range else {"replicas": asked.least}),
        "changes": {key: {"from": before, "to": after} for key, (before, after) in scaling.changes.items()},
    }
    if wait:
        tell(text)
        document["ready"] = wait_for_workers(kubernetes, scaling, timeout * 60, tell)
        text = f"{scaling.group}: {document['ready']} ready"
    answer(document, text, json)
