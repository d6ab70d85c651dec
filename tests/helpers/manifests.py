"""Manifests as `kubectl apply -k` would send them, and the pods that the KubeRay operator makes of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
Document = dict[str, Any]

OVERLAYS = sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml"))
CLUSTERS = [name for name in OVERLAYS if not name.startswith("jobs-")]
JOBS = [name for name in OVERLAYS if name.startswith("jobs-")]
# What a user may add to an overlay; settings and cpu are parts of the overlays themselves.
COMPONENTS = sorted(path.parent.name for path in (K8S / "components").glob("*/kustomization.yaml"))
OPTIONAL = [name for name in COMPONENTS if name not in ("settings", "cpu")]


@cache
def kubectl() -> str:
    """Path of a kubectl that renders; the test is skipped where there is none.

    No package of Python or npm holds it, and Debian's before version 13 is too old.
    """
    program = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl 1.27 or newer is not installed (https://kubernetes.io/docs/tasks/tools)")
    done = subprocess.run([program, "version", "--client", "--output=json"], capture_output=True, text=True)
    version = json.loads(done.stdout or "{}").get("clientVersion", {})
    minor = re.match(r"\d+", version.get("minor", "0"))
    if version.get("major") != "1" or minor is None or int(minor[0]) < 27:
        pytest.skip(f"{program} is older than 1.27, whose `kubectl kustomize` knows what k8s/ is written in")
    return program


def render(folder: Path) -> list[Document]:
    """Documents of a kustomization."""
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


@cache
def _overlay(name: str) -> list[Document]:
    return render(K8S / "overlays" / name)


def overlay(name: str) -> list[Document]:
    """Documents of one of k8s/overlays."""
    return deepcopy(_overlay(name))


def composed(folder: Path, name: str, *components: str) -> list[Document]:
    """Documents of an overlay with further components, as a kustomization of the user's own names them."""
    lines = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(K8S / "overlays" / name, folder)],
        "components": [os.path.relpath(K8S / "components" / one, folder) for one in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(lines))
    return render(folder)


def of_kind(documents: list[Document], *kinds: str) -> list[Document]:
    return [document for document in documents if document["kind"] in kinds]


def named(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [one for one in of_kind(documents, kind) if one["metadata"]["name"] == name]
    return found


def settings(documents: list[Document]) -> dict[str, str]:
    """The numbers of the overlay."""
    return dict(named(documents, "ConfigMap", "raycxr-settings")["data"])


def environment(documents: list[Document]) -> dict[str, str]:
    """What pods of a Ray cluster find in their environment."""
    names = ("raycxr-defaults", "raycxr-environment")
    return {key: value for name in names for key, value in named(documents, "ConfigMap", name)["data"].items()}


def job_spec(document: Document) -> Document:
    """Spec of a RayJob, or of the one that a RayCronJob makes."""
    return dict(document["spec"]["jobTemplate"] if document["kind"] == "RayCronJob" else document["spec"])


def cluster_specs(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Name and spec of every Ray cluster, jobs' own ones too."""
    for document in documents:
        if document["kind"] == "RayCluster":
            yield document["metadata"]["name"], document["spec"]
        elif document["kind"] in ("RayJob", "RayCronJob"):
            yield document["metadata"]["name"], job_spec(document)["rayClusterSpec"]


def group(spec: Document, name: str) -> Document:
    (found,) = [one for one in spec["workerGroupSpecs"] if one["groupName"] == name]
    return dict(found)


def ray_container(template: Document) -> Document:
    return dict(template["spec"]["containers"][0])


def pod_templates(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Name and template of every pod that anybody makes of the documents, with what the operator adds to Ray's."""
    for name, spec in cluster_specs(documents):
        yield f"{name}-head", _head(spec)
        for one in spec["workerGroupSpecs"]:
            yield f"{name}-{one['groupName']}", _worker(one["template"])
    for document in documents:
        name = document["metadata"]["name"]
        if document["kind"] in ("RayJob", "RayCronJob"):
            yield f"{name}-submitter", job_spec(document)["submitterPodTemplate"]
        elif document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield name, document["spec"]["template"]


def _head(spec: Document) -> Document:
    """The operator puts Ray's autoscaler beside the head."""
    template: Document = deepcopy(spec["headGroupSpec"]["template"])
    if spec["enableInTreeAutoscaling"]:
        options = spec["autoscalerOptions"]
        taken = {key: options[key] for key in ("resources", "securityContext", "volumeMounts")}
        container = {"name": "autoscaler", "image": ray_container(template)["image"], **taken}
        template["spec"]["containers"].append(container)
    return template


def _worker(template: Document) -> Document:
    """The operator lets a worker wait for the head, with the rights of Ray's own container."""
    made: Document = deepcopy(template)
    ray = ray_container(made)
    least = {"cpu": "200m", "memory": "256Mi"}
    waiting = {key: ray[key] for key in ("image", "imagePullPolicy", "securityContext", "volumeMounts")}
    resources = {"requests": least, "limits": least}
    made["spec"].setdefault("initContainers", []).append({"name": "wait-gcs-ready", **waiting, "resources": resources})
    return made


def pods(documents: list[Document]) -> list[Document]:
    """Every pod template as a Pod."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "raycxr", **template["metadata"]},
            "spec": template["spec"],
        }
        for name, template in pod_templates(documents)
    ]


def containers(template: Document) -> list[Document]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(value: str | int) -> float:
    """A quantity of Kubernetes (500m, 16Gi) as a number."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(value))
    assert match is not None, f"{value!r} is no quantity"
    return float(match[1]) * _UNITS[match[2]]


def volume_bytes(template: Document, name: str) -> float:
    """Size limit of an emptyDir."""
    (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == name]
    return quantity(volume["emptyDir"]["sizeLimit"])
