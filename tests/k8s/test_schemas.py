"""Manifests against the schemas of Kubernetes and of KubeRay, both strict: an unknown field is an error."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from manifests import K8S, OPTIONAL, OVERLAYS, Document, composed, of_kind, overlay, pods

VERSIONS = ("1.34", "1.35", "1.36")
# Kinds of operators; those of Ray have schemas of their own, below.
FOREIGN = {"RayCluster", "RayJob", "RayCronJob", "PodMonitor", "ClusterQueue", "LocalQueue", "ResourceFlavor"}


def core(documents: list[Document]) -> dict[str, Document]:
    """Documents of core kinds and all pods, each content once: overlays share most of theirs."""
    found = {}
    for document in [*documents, *pods(documents)]:
        if document["kind"] not in FOREIGN:
            content = {**document, "metadata": {**document["metadata"], "name": "any"}}
            found[json.dumps(content, sort_keys=True)] = document
    return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> list[Document]:
    """All components together, but the one that cannot be."""
    there = (K8S / "overlays" / "gpu" / "kustomization.yaml").read_text()
    added = [one for one in OPTIONAL if one != "kueue" and f"/{one}\n" not in there]
    return composed(tmp_path_factory.mktemp("everything"), "gpu", *added)


@cache
def schema(kind: str) -> Any:
    folder = os.environ.get("KUBERAY_SCHEMAS")
    if not folder:
        pytest.skip("KUBERAY_SCHEMAS does not name the folder of KubeRay's schemas")
    text = (Path(folder) / f"{kind.lower()}-v1.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


def check_ray(documents: list[Document]) -> int:
    ray = of_kind(documents, "RayCluster", "RayJob", "RayCronJob")
    for document in ray:
        assert document["apiVersion"] == "ray.io/v1"
        schema(document["kind"]).validate(document)
    return len(ray)


@pytest.mark.parametrize("version", VERSIONS)
def test_core_kinds(version: str, everything: list[Document]) -> None:
    documents: dict[str, Document] = {}
    for rendered in (*map(overlay, OVERLAYS), everything):
        documents |= core(rendered)
    assert len(documents) > 50
    for document in documents.values():
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_ray_kinds_of_an_overlay(name: str) -> None:
    assert check_ray(overlay(name)) == (5 if name.startswith("jobs-") else 1)


def test_ray_kinds_with_all_components(everything: list[Document]) -> None:
    assert check_ray(everything) == 1


def test_a_misspelled_field_is_noticed() -> None:
    documents = overlay("gpu")
    (policy, *_), (cluster,) = of_kind(documents, "NetworkPolicy"), of_kind(documents, "RayCluster")
    policy["spec"]["podSelectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(policy, VERSIONS[-1], strict=True)
    cluster["spec"]["workerGroupSpecs"][0]["minReplica"] = 1
    with pytest.raises(jsonschema.ValidationError):
        check_ray([cluster])
