"""How the API server of Kubernetes is found: by a kubeconfig, or in a pod by its ServiceAccount."""

from __future__ import annotations

import os
from pathlib import Path

import urllib3
import yaml
from kubernetes import client, config

from raycxr.cluster.kubernetes_api import Kubernetes, KubernetesError

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
    try:
        contexts, current = config.list_kube_config_contexts(file)
    except (config.ConfigException, yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        first = next(iter(str(error).splitlines()), "")
        raise KubernetesError(
            f"the kubeconfig {file} cannot be used: {first}",
            "see: kubectl config get-contexts; kubectl config use-context NAME",
        ) from None
    known = {entry["name"]: entry["context"] for entry in contexts}
    name = context or current["name"]
    if name not in known:
        raise KubernetesError(
            f"the kubeconfig {file} has no context {name!r}", f"choose one of {', '.join(sorted(known))}"
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
