"""The level `restricted` of Kubernetes' Pod Security Standards, for every pod that anybody makes of the manifests.

The list is that of https://kubernetes.io/docs/concepts/security/pod-security-standards (v1.34), written down anew here.
There is no exception.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from manifests import K8S, OPTIONAL, OVERLAYS, Document, composed, containers, named, overlay, pod_templates

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
PROFILES = ({"type": "RuntimeDefault"},)


def violations(template: Document) -> list[str]:
    """What is wrong with a pod, by the names of the standard."""
    spec = template["spec"]
    pod = spec.get("securityContext", {})
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += ["procMount"] if pod.get("procMount") else []
    found += ["sysctls"] if pod.get("sysctls") else []
    found += ["runAsUser"] if pod.get("runAsUser") == 0 else []
    found += ["appArmor"] if pod.get("appArmorProfile", {}).get("type") == "Unconfined" else []
    for volume in spec.get("volumes", []):
        found += [f"volume {kind}" for kind in set(volume) - {"name"} - VOLUMES]
    for container in containers(template):
        name, own = container["name"], container.get("securityContext", {})
        checks = {
            "privileged": not own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": own.get("runAsNonRoot", pod.get("runAsNonRoot")) is True,
            "runAsUser": own.get("runAsUser", pod.get("runAsUser")) != 0,
            "seccompProfile": own.get("seccompProfile", pod.get("seccompProfile")) in PROFILES,
            "capabilities drop": "ALL" in own.get("capabilities", {}).get("drop", []),
            "capabilities add": set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "procMount": own.get("procMount", "Default") == "Default",
            "lifecycle host": not any("host" in hook for probe in probes(container) for hook in probe.values() if hook),
            # Beyond the standard: what a container writes goes to a volume with a limit.
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
        }
        found += [f"{name}: {check}" for check, holds in checks.items() if not holds]
    return found


def probes(container: Document) -> list[Document]:
    """Actions of a container's probes and hooks."""
    lifecycle = container.get("lifecycle", {})
    actions = [container.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness")]
    actions += [lifecycle.get("preStop"), lifecycle.get("postStart")]
    kinds = ("httpGet", "tcpSocket", "exec", "grpc")
    return [{kind: action[kind] for kind in kinds if kind in action} for action in actions if action]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_is_restricted(name: str) -> None:
    documents = overlay(name)
    found = {pod: violations(template) for pod, template in pod_templates(documents)}
    assert {pod: one for pod, one in found.items() if one} == {}
    labels = named(documents, "Namespace", "raycxr")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_with_every_component(tmp_path: Path) -> None:
    there = (K8S / "overlays" / "gpu" / "kustomization.yaml").read_text()
    added = [one for one in OPTIONAL if one != "kueue" and f"/{one}\n" not in there]
    templates = dict(pod_templates(composed(tmp_path, "gpu", *added)))
    assert {"raycxr-mlflow", "raycxr-s3", "raycxr-head"} <= set(templates)
    assert [container["name"] for container in containers(templates["raycxr-head"])][-1] == "autoscaler"
    assert {pod: violations(template) for pod, template in templates.items() if violations(template)} == {}


def test_what_the_standard_forbids_is_noticed() -> None:
    template = dict(pod_templates(overlay("gpu")))["raycxr-data"]
    spec, container = template["spec"], template["spec"]["containers"][0]
    spec["hostNetwork"] = True
    spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    del spec["securityContext"]["seccompProfile"]
    container["securityContext"] = {"capabilities": {"drop": ["NET_RAW"]}, "runAsUser": 0}
    found = set(violations(template))
    expected = {"hostNetwork", "volume hostPath", "ray-worker: seccompProfile", "ray-worker: capabilities drop"}
    assert expected | {"ray-worker: allowPrivilegeEscalation", "ray-worker: runAsUser"} <= found
    container["livenessProbe"]["httpGet"]["host"] = "10.0.0.1"
    assert "ray-worker: lifecycle host" in violations(template)


@pytest.mark.parametrize("name", OVERLAYS)
def test_only_the_head_of_an_autoscaled_cluster_is_given_a_token_of_the_kubernetes_api(name: str) -> None:
    scaled = "autoscale" in name
    for pod, template in pod_templates(overlay(name)):
        assert template["spec"]["automountServiceAccountToken"] is (scaled and pod.endswith("-head")), pod
        assert template["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", ["gpu", "gpu-autoscale"])
def test_rights_are_those_that_are_used_and_no_more(name: str) -> None:
    roles = {
        role["metadata"]["name"]: {
            (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        }
        for role in overlay(name)
        if role["kind"] == "Role"
    }
    expected = {
        "raycxr-submit": {*_pairs("rayjobs", "get create"), *_pairs("rayclusters", "get list"),
                          *_pairs("pods", "list"), *_pairs("pods/log", "get")},
        "raycxr-scale": {*_pairs("rayclusters", "get list patch"), *_pairs("resourcequotas", "list"),
                         *_pairs("pods", "list")},
    }  # fmt: skip
    if name == "gpu-autoscale":
        expected["raycxr-autoscaler"] = {*_pairs("pods", "get list"), *_pairs("rayclusters", "get patch")}
    assert roles == expected


def _pairs(resource: str, verbs: str) -> list[tuple[str, str]]:
    return [(resource, verb) for verb in verbs.split()]


def test_everything_is_closed_but_what_is_named() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in overlay("gpu") if one["kind"] == "NetworkPolicy"}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        for rule in spec.get("ingress", []):
            assert rule.get("from"), name
            # Ray's own pods alone reach each other at every port.
            assert rule.get("ports") or name == "ray-cluster"
        for rule in spec.get("egress", []):
            assert rule.get("ports") or rule["to"][0]["podSelector"], name
            for peer in rule.get("to", []):
                block = peer.get("ipBlock", {})
                assert block.get("cidr") not in ("0.0.0.0/0", "::/0") or block["except"], name
