"""Every overlay and combination renders, and what is rendered fits together."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import (
    CLUSTERS,
    JOBS,
    K8S,
    OPTIONAL,
    OVERLAYS,
    Document,
    cluster_specs,
    composed,
    containers,
    environment,
    group,
    job_spec,
    named,
    of_kind,
    overlay,
    pod_templates,
    ray_container,
    render,
    settings,
)

# Together they would scale a cluster whose size a queue has promised.
NEVER_TOGETHER = {"autoscaling", "kueue"}
# A release, perhaps with its digest; never `latest`.
IMAGE = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+(-[a-z]+)?(@sha256:[0-9a-f]{64})?")
ADDED = [
    (name, component)
    for name in ("dev", "gpu")
    for component in OPTIONAL
    if f"/{component}\n" not in (K8S / "overlays" / name / "kustomization.yaml").read_text()
]


def resource_names(documents: list[Document]) -> list[tuple[str, str]]:
    return [(document["kind"], document["metadata"]["name"]) for document in documents]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_holds_every_resource_once_and_in_one_namespace(name: str) -> None:
    documents = overlay(name)
    names = resource_names(documents)
    assert len(set(names)) == len(names)
    without = {"Namespace", "ClusterQueue", "ResourceFlavor"}
    for document in documents:
        assert document["metadata"].get("namespace") == (None if document["kind"] in without else "raycxr")
        labels = document["metadata"].get("labels", {})
        assert labels.get("app.kubernetes.io/part-of") == "raycxr" or document["kind"] == "ConfigMap"
    assert not of_kind(documents, "Secret", "ClusterRole", "ClusterRoleBinding", "PodTemplate")


@pytest.mark.parametrize(("name", "component"), ADDED)
def test_a_component_can_be_added_to_an_overlay(name: str, component: str, tmp_path: Path) -> None:
    before, after = overlay(name), composed(tmp_path, name, component)
    assert after != before
    assert set(resource_names(before)) <= set(resource_names(after))
    assert len(set(resource_names(after))) == len(after)


def test_components_go_together(tmp_path: Path) -> None:
    rest = [component for name, component in ADDED if name == "gpu"]
    for left_out in NEVER_TOGETHER:
        chosen = [one for one in rest if one != left_out]
        documents = composed(tmp_path, "gpu", *chosen)
        spec = named(documents, "RayCluster", "raycxr")["spec"]
        assert ("autoscalerOptions" in spec) == ("autoscaling" in chosen)
        assert spec["gcsFaultToleranceOptions"]["redisAddress"] == settings(documents)["redis-address"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_queues_and_autoscaling_are_never_together(name: str) -> None:
    documents = overlay(name)
    queued = bool(of_kind(documents, "LocalQueue"))
    scaled = any(spec["enableInTreeAutoscaling"] for _, spec in cluster_specs(documents))
    assert not (queued and scaled)
    assert queued == ("kueue" in name)
    assert scaled == ("autoscale" in name)
    if queued:
        for _, spec in cluster_specs(documents):
            for one in spec["workerGroupSpecs"]:
                assert one["replicas"] == one["minReplicas"] == one["maxReplicas"]
            assert len(spec["workerGroupSpecs"]) <= 7
        for document in of_kind(documents, "RayCluster", "RayJob"):
            assert document["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "default"


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_select(name: str) -> None:
    documents = overlay(name)
    labels = [template["metadata"]["labels"] for _, template in pod_templates(documents)]

    def selects(selector: Document) -> bool:
        wanted = selector.get("matchLabels", {}).items()
        return any(wanted <= one.items() for one in labels)

    for policy in of_kind(documents, "NetworkPolicy"):
        # A cluster without jobs has no submitter, and a client is the user's own.
        expected = (name in JOBS or policy["metadata"]["name"] != "submitter") and policy["metadata"][
            "name"
        ] != "client"
        assert selects(policy["spec"]["podSelector"]) == expected
    for document in of_kind(documents, "PodDisruptionBudget", "PodMonitor", "Deployment"):
        assert selects(document["spec"]["selector"]), document["metadata"]["name"]
    for service in of_kind(documents, "Service"):
        assert selects({"matchLabels": service["spec"]["selector"]})
    accounts = {one["metadata"]["name"] for one in of_kind(documents, "ServiceAccount")}
    for pod, template in pod_templates(documents):
        spec = template["spec"]
        assert spec["serviceAccountName"] in accounts
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in containers(template):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, pod
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    named(documents, "ConfigMap", source["configMapRef"]["name"])
        for spread in spec.get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    for binding in of_kind(documents, "RoleBinding"):
        named(documents, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        assert {subject["name"] for subject in binding["subjects"]} <= accounts


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_has_a_fixed_image_requests_and_limits(name: str) -> None:
    for pod, template in pod_templates(overlay(name)):
        for container in containers(template):
            where = f"{pod}/{container['name']}"
            assert IMAGE.fullmatch(container["image"]), where
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), where
            assert resources["requests"] == resources["limits"], where


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_number_of_the_settings_is_used(name: str, tmp_path: Path) -> None:
    """Each number is changed, and stands in the manifests: where its component is there, or is added."""
    copy = tmp_path / "k8s"
    shutil.copytree(K8S, copy)
    kustomization = copy / "overlays" / name / "kustomization.yaml"
    lines = yaml.safe_load(kustomization.read_text())
    further = [f"../../components/{one}" for one in ("mlflow", "gcs-fault-tolerance", "dev-s3", "s3-role")]
    lines["components"] = [*(one for one in further if one not in lines["components"]), *lines["components"]]
    kustomization.write_text(yaml.safe_dump(lines))
    path = copy / "overlays" / name / "settings.yaml"
    numbers, variables = yaml.safe_load_all(path.read_text())
    marks = {key: str(700 + place) for place, key in enumerate(numbers["data"])}
    numbers["data"] = marks
    path.write_text(yaml.safe_dump_all([numbers, variables]))
    documents = [*render(path.parent), *render(copy / "overlays" / f"jobs-{name}")]
    rendered = json.dumps([one for one in documents if one["metadata"]["name"] != "raycxr-settings"])
    unused = {key for key, mark in marks.items() if not re.search(rf"\b{mark}\b", rendered)}
    expected = set() if "autoscale" in name else {"idle-seconds"}
    if "kueue" in name:  # where the size is fixed
        expected |= {f"{part}-workers-{end}" for part in ("data", "train") for end in ("min", "max")}
    else:
        expected |= {f"quota-{what}" for what in ("cpus", "memory", "disk", "gpus")}
    assert unused == expected


def test_overlays_have_the_same_settings() -> None:
    keys = {name: (list(settings(overlay(name))), list(environment(overlay(name)))) for name in CLUSTERS}
    own = {"AWS_ENDPOINT_URL"}
    for name, (numbers, variables) in keys.items():
        assert numbers == keys["gpu"][0], name
        assert set(variables) - own == set(keys["gpu"][1]) - own, name


@pytest.mark.parametrize("name", JOBS)
def test_jobs_run_on_the_cluster_of_their_overlay(name: str) -> None:
    documents, cluster = overlay(name), overlay(name.removeprefix("jobs-"))
    spec = named(cluster, "RayCluster", "raycxr")["spec"]
    assert not of_kind(documents, "RayCluster")
    jobs = of_kind(documents, "RayJob", "RayCronJob")
    kinds = {job["metadata"]["labels"]["raycxr/job"] for job in jobs}
    assert kinds == {"ingest", "train", "tune", "evaluate", "retrain"}
    assert all(len(job["metadata"]["name"]) <= 47 for job in jobs)
    # What `-l '!raycxr/job'` applies is all that the cluster's overlay has, but for the cluster.
    others = [one for one in documents if "raycxr/job" not in one["metadata"].get("labels", {})]
    assert others == [one for one in cluster if one["kind"] != "RayCluster"]
    for job in jobs:
        own = job_spec(job)
        assert own["activeDeadlineSeconds"] == int(settings(documents)["job-deadline-seconds"])
        assert own["backoffLimit"] >= 1
        assert own["shutdownAfterJobFinishes"] is True
        assert own["ttlSecondsAfterFinished"] > 0
        # Kueue and KubeRay refuse a selector beside a cluster of the job's own.
        assert "clusterSelector" not in own
        assert ray_container(own["submitterPodTemplate"])["image"] == settings(documents)["image"]
        assert own["rayClusterSpec"]["headGroupSpec"] == spec["headGroupSpec"]
        kind = job["metadata"]["labels"]["raycxr/job"]
        if kind in ("train", "tune", "retrain"):
            assert own["rayClusterSpec"] == spec
    evaluate = job_spec(named(documents, "RayJob", "raycxr-evaluate"))
    assert evaluate["entrypointNumGpus"] == int(settings(documents)["train-gpus"])
    assert group(evaluate["rayClusterSpec"], "train")["replicas"] == 1
    assert group(job_spec(named(documents, "RayJob", "raycxr-ingest"))["rayClusterSpec"], "train")["maxReplicas"] == 0


def test_keys_of_object_storage_come_from_a_file_that_git_ignores(tmp_path: Path) -> None:
    copy = tmp_path / "k8s"
    shutil.copytree(K8S, copy, ignore=shutil.ignore_patterns("s3.env"))
    secret = copy / "components" / "s3-credentials" / "secret"
    example = (secret / "s3.env.example").read_text()
    (secret / "s3.env").write_text(example.replace("AWS_SECRET_ACCESS_KEY=", "AWS_SECRET_ACCESS_KEY=abc"))
    made = named(render(secret), "Secret", "raycxr-s3")
    assert set(made["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert re.search(r"^AWS_SECRET_ACCESS_KEY=$", example, re.MULTILINE)
    assert "s3.env" in (K8S.parent / ".gitignore").read_text()
    sources: list[Any] = []
    for pod, template in pod_templates(overlay("dev")):
        if pod.startswith("raycxr-") and not pod.startswith("raycxr-s3"):
            sources += [ray_container(template)["envFrom"]]
    assert len(sources) == 3
    assert all({"secretRef": {"name": "raycxr-s3"}} in one for one in sources)
