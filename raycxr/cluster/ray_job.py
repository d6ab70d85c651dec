"""A RayJob resource: a job with a cluster of its own, or on one that exists."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from raycxr.cluster.command import Command
from raycxr.cluster.kubernetes_api import GROUP, VERSION, AbsentError, ConflictError, Kubernetes, KubernetesError
from raycxr.cluster.ray_cluster import QUEUE, find_cluster
from raycxr.cluster.submission import job_name
from raycxr.errors import ConfigurationError, UsageError, first_line

PLURAL = "rayjobs"
COMMAND = "raycxr/command"
SUBMITTER = "ray-job-submitter"
# KubeRay puts its own words behind the name, and all must fit into a label.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
# Of an int32, which KubeRay keeps it in.
_MOST_SECONDS = 2**31 - 1
# So long the cluster of a job stays after it, for who wants to look.
_TTL_SECONDS = 60
# What of the head's pod the submitting pod needs too, to be admitted and scheduled.
_FROM_HEAD = ("imagePullSecrets", "securityContext", "serviceAccountName", "nodeSelector", "tolerations")


def rayjob_name(name: str | None, command: Command, config: Path | None) -> str:
    """Return the checked name of a RayJob, or a new one."""
    if name is not None and not _NAME.fullmatch(name):
        raise UsageError(
            f"--name {name!r} is no name of a RayJob", "write at most 47 of a-z, 0-9 and -, a letter first, no - last"
        )
    return job_name(name, command, config)


def make_rayjob(
    kubernetes: Kubernetes,
    name: str,
    command: Command,
    environment: Mapping[str, str],
    occupied: tuple[float, float],
    cluster: str | None,
    like: str | None,
    deadline: float,
) -> dict[str, Any]:
    """Return the manifest of a RayJob.

    Parameters
    ----------
    occupied : tuple of float
        CPUs and GPUs of the driver; with 0 of both it runs on the head.
    cluster : str or None
        The RayCluster to run on; None for a cluster of its own.
    like : str or None
        After what its own cluster is made: the name of a RayCluster or a manifest; None for the namespace's only one.
    deadline : float
        Hours after which KubeRay ends it: a job whose head was restarted would otherwise be `Running` for ever.
    """
    if cluster is not None and like is not None:
        raise UsageError(
            "--cluster and --like exclude each other", "run on a cluster that exists, or on a new one like it"
        )
    if not 1 <= deadline * 3600 <= _MOST_SECONDS:
        raise UsageError(f"--deadline {deadline:g} is no number of hours for a job", "give hours, such as 72")
    _refuse_shell(environment)
    source = (
        _read_manifest(Path(like))
        if like is not None and _is_file(like)
        else find_cluster(kubernetes, cluster or like, "--like" if cluster is None else "--cluster")
    )
    head = source["spec"]["headGroupSpec"]["template"]
    spec: dict[str, Any] = {
        "entrypoint": command.sealed_entrypoint,
        # No jobId: a cluster that still knows one of this name would pass the old job off as this one.
        "submissionMode": "K8sJobMode",
        "backoffLimit": 0,
        "activeDeadlineSeconds": round(deadline * 3600),
        "submitterPodTemplate": _submitter(head),
    }
    if environment:
        # In JSON, which is YAML: no version of YAML takes a value for a number.
        spec["runtimeEnvYAML"] = json.dumps({"env_vars": dict(environment)})
    for key, amount in zip(("entrypointNumCpus", "entrypointNumGpus"), occupied, strict=True):
        if amount:
            spec[key] = amount
    labels = {"app.kubernetes.io/name": "raycxr", "app.kubernetes.io/component": "job"}
    if cluster is not None:
        spec["clusterSelector"] = {"ray.io/cluster": cluster}
    else:
        spec |= {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": _TTL_SECONDS}
        spec["rayClusterSpec"] = _own_cluster(source["spec"])
        queue = (source["metadata"].get("labels") or {}).get(QUEUE)
        labels |= {QUEUE: queue} if queue else {}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "RayJob",
        "metadata": {
            "name": name,
            "namespace": kubernetes.namespace,
            "labels": labels,
            "annotations": {COMMAND: f"raycxr {command}"},
        },
        "spec": spec,
    }


def find_rayjob(
    kubernetes: Kubernetes, name: str, command: Command, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Find the RayJob of this name that was submitted before, or None.

    Raises
    ------
    KubernetesError
        It runs another command.
    """
    try:
        existing = kubernetes.get(PLURAL, name)
    except AbsentError:
        return None
    if existing["spec"].get("entrypoint") != command.sealed_entrypoint:
        what = (existing["metadata"].get("annotations") or {}).get(COMMAND) or existing["spec"].get("entrypoint")
        other = "configuration" if what == f"raycxr {command}" else "command"
        raise KubernetesError(
            f"the RayJob {name} is there already with another {other}: {what}", "choose another --name"
        )
    say(f"the RayJob {name} is there already ({rayjob_status(existing)}); it is not started twice")
    return existing


def create_rayjob(
    kubernetes: Kubernetes, manifest: Mapping[str, Any], command: Command, say: Callable[[str], None]
) -> dict[str, Any]:
    """Create a RayJob; where somebody else was faster, find the one of this name as `find_rayjob` does."""
    name = manifest["metadata"]["name"]
    try:
        created = kubernetes.create(PLURAL, manifest)
    except ConflictError:
        existing = find_rayjob(kubernetes, name, command, say)
        if existing is None:
            raise
        return existing
    say(
        f"created the RayJob {name} in namespace {kubernetes.namespace}: {manifest['metadata']['annotations'][COMMAND]}"
    )
    return created


def rayjob_status(rayjob: Mapping[str, Any]) -> str:
    """Return the status as the job API words it: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    status = rayjob.get("status") or {}
    told = str(status.get("jobStatus") or "")
    # KubeRay ends a job by its deadline without the cluster's word.
    if status.get("jobDeploymentStatus") in ("Failed", "ValidationFailed") and told not in ("FAILED", "STOPPED"):
        return "FAILED"
    return told or "PENDING"


def rayjob_document(kubernetes: Kubernetes, rayjob: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--json` answers of a RayJob."""
    status, metadata = rayjob.get("status") or {}, rayjob["metadata"]
    place = f"{kubernetes.host}/apis/{GROUP}/{VERSION}/namespaces/{kubernetes.namespace}/{PLURAL}/{metadata['name']}"
    return {
        "submission_id": metadata["name"],
        "status": rayjob_status(rayjob),
        "address": place,
        "namespace": kubernetes.namespace,
        "cluster": status.get("rayClusterName"),
        "message": status.get("message") or status.get("reason"),
    }


def _own_cluster(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a cluster's specification, without what belongs to its moment."""
    own = copy.deepcopy(dict(spec))
    own.pop("suspend", None)
    for group in own.get("workerGroupSpecs") or []:
        group.pop("suspend", None)
        group.pop("scaleStrategy", None)
    return own


def _submitter(head: Mapping[str, Any]) -> dict[str, Any]:
    """Pod that hands the job in and shows its log; KubeRay's own one would not pass the `restricted` level."""
    container = head["spec"]["containers"][0]
    spec = {key: copy.deepcopy(head["spec"][key]) for key in _FROM_HEAD if key in head["spec"]}
    taken = {
        key: copy.deepcopy(container[key])
        for key in ("image", "imagePullPolicy", "securityContext")
        if key in container
    }
    return {
        # What the NetworkPolicies of k8s/base let through to a head's job API.
        "metadata": {"labels": {"app.kubernetes.io/name": "raycxr-submitter"}},
        "spec": {
            **spec,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
            "containers": [
                {
                    "name": SUBMITTER,
                    **taken,
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "256Mi"},
                        "limits": {"cpu": "1", "memory": "1Gi"},
                    },
                    # All else may be read alone.
                    "env": [{"name": "HOME", "value": "/tmp"}],
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
        },
    }


def _refuse_shell(environment: Mapping[str, str]) -> None:
    """Refuse what the shell of KubeRay's submitting pod would read as something else."""
    for name, value in environment.items():
        if re.search(r"[$`\n]", value):
            raise UsageError(
                f"--env {name}: KubeRay would let a shell change this value", "leave out $, ` and line ends"
            )


def _is_file(like: str) -> bool:
    return like.endswith((".yaml", ".yml")) or Path(like).is_file()


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return the one RayCluster of a file."""
    try:
        documents = [
            document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(document, dict)
        ]
    except OSError as error:
        raise ConfigurationError(f"cannot read the manifest {path}: {error.strerror}", "check the file name") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = first_line(error)
        raise ConfigurationError(f"{path} is no manifest: {first}", "name a YAML file with a RayCluster") from None
    found = [document for document in documents if document.get("kind") == "RayCluster"]
    if len(found) != 1:
        kinds = ", ".join(str(document.get("kind")) for document in documents) or "nothing"
        raise ConfigurationError(
            f"{path} holds {len(found)} RayClusters ({kinds})",
            "name a file with one, such as: kubectl kustomize k8s/overlays/gpu",
        )
    spec: Any = found[0].get("spec")
    try:
        for group in (spec["headGroupSpec"], *(spec.get("workerGroupSpecs") or [])):
            group["template"]["spec"]["containers"][0]["image"]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ConfigurationError(
            f"the RayCluster in {path} has no head, or a group without an image", "see k8s/base"
        ) from None
    return {"spec": spec, "metadata": found[0].get("metadata") or {}}
