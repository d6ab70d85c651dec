"""How the API server of Kubernetes is found: by a kubeconfig, or in a pod by its ServiceAccount."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.kube_config import KubeConfigMerger

from raycxr.cluster.kubernetes_api import Kubernetes, KubernetesError
from raycxr.errors import first_line

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def connect_kubernetes(context: str | None = None, namespace: str | None = None) -> Kubernetes:
    """Find the API server: by the kubeconfig, or in a pod by its ServiceAccount.

    Parameters
    ----------
    context : str or None
        Of the kubeconfig; None for the current one.
    namespace : str or None
        None for that of the context or of the pod, else `default`.

    Raises
    ------
    KubernetesError
        Neither is there, the kubeconfig is broken, or has no such context.
    """
    file, found = _file(), has_kubernetes()
    if found == "kubeconfig":
        return _from_kubeconfig(file, context, namespace)
    if found == "account" and context is None:
        return _from_account(namespace)
    raise KubernetesError(
        f"no kubeconfig at {file}, and no ServiceAccount of a pod",
        "set KUBECONFIG, or get one, such as by: kind export kubeconfig, aws eks update-kubeconfig, gcloud container "
        "clusters get-credentials",
    )


def has_kubernetes() -> str | None:
    """Where an API server would be found: `kubeconfig`, `account`, or None."""
    if any(Path(path).exists() for path in _file().split(os.pathsep)):
        return "kubeconfig"
    return "account" if "KUBERNETES_SERVICE_HOST" in os.environ and (_ACCOUNT / "token").exists() else None


def _file() -> str:
    """Return the kubeconfig, or several that kubectl would merge."""
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def _from_kubeconfig(file: str, context: str | None, namespace: str | None) -> Kubernetes:
    remedy = "see: kubectl config get-contexts; kubectl config use-context NAME"
    try:
        merged = KubeConfigMerger(file).config.value
        known = {node.value["name"]: node.value["context"] or {} for node in merged["contexts"]}
        users = {node.value["name"]: node.value["user"] or {} for node in merged["users"]}
        name = context or merged.get("current-context")
    except (config.ConfigException, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise KubernetesError(f"the kubeconfig {file} cannot be used: {first_line(error)}", remedy) from None
    if not name:
        raise KubernetesError(f"the kubeconfig {file} has no current context", f"give --context, or {remedy}")
    if name not in known:
        raise KubernetesError(
            f"the kubeconfig {file} has no context {name!r}", f"choose one of {', '.join(sorted(known))}"
        )
    program = (users.get(known[name].get("user"), {}).get("exec") or {}).get("command")
    if program is not None and shutil.which(program) is None:
        raise KubernetesError(
            f"the context {name} of {file} logs in by {program}, which is not installed here", "install it"
        )
    settings = client.Configuration()
    try:
        config.load_kube_config(file, name, client_configuration=settings, persist_config=False)
    except (config.ConfigException, OSError, KeyError) as error:
        raise KubernetesError(
            f"the context {name} of {file} cannot be used: {error}", "see: kubectl --context NAME get namespaces"
        ) from None
    chosen = namespace or known[name].get("namespace") or "default"
    return Kubernetes(_client(settings), chosen, f"context {name}")


def _from_account(namespace: str | None) -> Kubernetes:
    settings = client.Configuration()
    config.load_incluster_config(settings)
    place = _ACCOUNT / "namespace"
    own = place.read_text().strip() if place.exists() else "default"
    return Kubernetes(_client(settings), namespace or own, "the ServiceAccount of this pod")


def _client(settings: client.Configuration) -> client.ApiClient:
    # urllib3 would try three times more, and say so each time.
    settings.retries = urllib3.Retry(0)
    return client.ApiClient(settings)
