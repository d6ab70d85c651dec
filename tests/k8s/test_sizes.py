"""The numbers of the overlays fit together, and versions are those that are pinned."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest
from manifests import (
    CLUSTERS,
    K8S,
    OVERLAYS,
    ROOT,
    cluster_specs,
    composed,
    containers,
    environment,
    group,
    named,
    of_kind,
    overlay,
    pod_templates,
    quantity,
    ray_container,
    settings,
    volume_bytes,
)

import raycxr
from raycxr.cluster.doctor import SHM_BYTES

LOCK = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
GIB = 2**30


@pytest.mark.parametrize("name", OVERLAYS)
def test_shared_memory_holds_the_object_store_and_the_memory_limit_counts_it(name: str) -> None:
    for _, spec in cluster_specs(overlay(name)):
        # Else doctor keeps the head from starting.
        assert volume_bytes(spec["headGroupSpec"]["template"], "shared-memory") >= SHM_BYTES
        for one in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            template = one["template"]
            shared = volume_bytes(template, "shared-memory")
            limits = ray_container(template)["resources"]["limits"]
            store = int(one["rayStartParams"]["object-store-memory"])
            # Loading processes need some of it as well.
            assert store <= shared / 2
            assert shared + 2 * GIB - 2**29 <= quantity(limits["memory"])
            assert volume_bytes(template, "cache") < quantity(limits["ephemeral-storage"])
            (volume,) = [volume for volume in template["spec"]["volumes"] if volume["name"] == "shared-memory"]
            assert volume["emptyDir"]["medium"] == "Memory"
            mounts = {mount["mountPath"]: mount["name"] for mount in ray_container(template)["volumeMounts"]}
            assert mounts["/dev/shm"] == "shared-memory"
            assert template["spec"]["terminationGracePeriodSeconds"] >= 60


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_head_does_not_train(name: str) -> None:
    for _, spec in cluster_specs(overlay(name)):
        params = spec["headGroupSpec"]["rayStartParams"]
        assert (params["num-cpus"], params["num-gpus"]) == ("0", "0")
        assert "nvidia.com/gpu" not in ray_container(spec["headGroupSpec"]["template"])["resources"]["limits"]
        assert spec["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_workers_of_a_run_fit_into_the_pods_that_train(name: str) -> None:
    documents = overlay(name)
    numbers, variables = settings(documents), environment(documents)
    train = group(named(documents, "RayCluster", "raycxr")["spec"], "train")
    pods = train["maxReplicas"] if "autoscale" in name else train["replicas"]
    asked = int(variables["RAYCXR_WORKERS"])
    each = int(numbers["train-cpus"]) // int(variables["RAYCXR_CPUS_PER_WORKER"])
    gpus = int(variables["RAYCXR_GPUS_PER_WORKER"])
    if gpus:
        each = min(each, int(numbers["train-gpus"]) // gpus)
        # One CPU would starve a GPU.
        assert int(variables["RAYCXR_CPUS_PER_WORKER"]) >= 4 * gpus
    assert asked <= pods * each
    assert (int(numbers["train-gpus"]) > 0) == (gpus > 0) == (name != "dev")
    assert train["minReplicas"] <= train["replicas"] <= train["maxReplicas"]
    if "spot" in name:
        assert variables["RAYCXR_MAX_FAILURES"] == "-1"


def test_the_development_cluster_fits_a_laptop() -> None:
    documents, cpus, memory = overlay("dev"), 0.0, 0.0
    for pod, template in pod_templates(documents):
        count = int(settings(documents).get(f"{pod.removeprefix('raycxr-')}-workers", 1))
        requests = [container["resources"]["requests"] for container in template["spec"]["containers"]]
        cpus += count * sum(quantity(one["cpu"]) for one in requests)
        memory += count * sum(quantity(one["memory"]) for one in requests)
    assert cpus <= 5
    assert memory <= 13 * GIB


@pytest.mark.parametrize("name", [name for name in CLUSTERS if "autoscale" not in name])
def test_a_whole_cluster_and_its_submitter_fit_into_the_quota(name: str, tmp_path: Path) -> None:
    """Kueue may be added to any cluster of fixed size."""
    documents = overlay(f"jobs-{name}")
    (queue,) = of_kind(documents if "kueue" in name else composed(tmp_path, name, "kueue"), "ClusterQueue")
    (flavor,) = queue["spec"]["resourceGroups"][0]["flavors"]
    quota = {one["name"]: quantity(one["nominalQuota"]) for one in flavor["resources"]}
    spec = dict(cluster_specs(documents))["raycxr-train"]
    replicas = {one["groupName"]: one["replicas"] for one in spec["workerGroupSpecs"]}
    asked = dict.fromkeys(quota, 0.0)
    for pod, template in pod_templates(documents):
        if pod.startswith("raycxr-train-"):
            for container in template["spec"]["containers"]:
                for resource, value in container["resources"]["requests"].items():
                    asked[resource] += quantity(value) * replicas.get(pod.removeprefix("raycxr-train-"), 1)
    assert {resource: value for resource, value in asked.items() if value > quota[resource]} == {}
    assert (asked["nvidia.com/gpu"] > 0) == (name != "dev")


@pytest.mark.parametrize("name", OVERLAYS)
def test_versions_are_those_that_are_pinned(name: str) -> None:
    documents = overlay(name)
    assert {spec["rayVersion"] for _, spec in cluster_specs(documents)} == {LOCK["ray"]}
    variant = "cpu" if name.endswith("dev") else "cuda"
    for pod, template in pod_templates(documents):
        for container in containers(template):
            image = container["image"].rpartition("/")[2]
            servers = {"raycxr-s3": "raycxr-s3-server", "raycxr-mlflow": "raycxr-mlflow"}
            if pod in servers:
                assert image == f"{servers[pod]}:{raycxr.__version__}"
            else:
                assert image == f"raycxr:{raycxr.__version__}-{variant}", f"{pod}/{container['name']}"


def test_the_image_is_built_from_what_is_pinned() -> None:
    text = (K8S / "image" / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-[a-z]+$", text, re.MULTILINE)
    assert all(line.split()[1] == "python:${PYTHON}" for line in text.splitlines() if line.startswith("FROM "))
    python = re.search(r"PYTHON=(\d+\.\d+)", text)
    assert python is not None
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert python[1] == required.removeprefix(">=")
    assert text.count("--constraint requirements.lock") == text.count("pip install --constraint")
    assert text.rindex("USER 10001:10001") > text.rindex("FROM ")
    for tag in re.findall(r"-t raycxr[a-z0-9-]*:([0-9.]+)", text):
        assert tag == raycxr.__version__
    # What the image is copied together from reaches the builder, and nothing else.
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [source for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for source in line.split()[:-1]]
    assert set(copied) == set(sent)
    assert all((ROOT / source).exists() for source in copied)


def test_the_dashboard_shows_metrics_that_ray_or_a_worker_has(tmp_path: Path) -> None:
    from raycxr.training.gauges import FIGURES
    from raycxr.training.ray_metrics import PREFIX

    (folder,) = importlib.util.find_spec("ray").submodule_search_locations  # type: ignore[union-attr, misc]
    panels = Path(folder) / "dashboard" / "modules" / "metrics" / "dashboards"
    known = set(re.findall(r"\bray_[a-z_]+", "".join(path.read_text() for path in panels.glob("*.py"))))
    document = json.loads(
        named(composed(tmp_path, "gpu", "monitoring"), "ConfigMap", "raycxr-dashboard")["data"]["raycxr.json"]
    )
    expressions = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    shown = {metric for one in expressions for metric in re.findall(r"\b(ray_[a-z_]+)\{", one)}
    ours = {f"ray_{PREFIX}{name}" for name in FIGURES}
    assert len(shown - ours) >= 12
    assert ours <= shown <= known | ours
    variables = {one["name"] for one in document["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(document))) - {"__all"} <= variables
