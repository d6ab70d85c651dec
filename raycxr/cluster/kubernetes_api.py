"""The API server of Kubernetes: what is asked of it, and its refusals in one line each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from raycxr.errors import RaycxrError

GROUP, VERSION = "ray.io", "v1"
KINDS = {"rayclusters": "RayCluster", "rayjobs": "RayJob"}
KUBERAY = "helm install kuberay-operator kuberay/kuberay-operator --version 1.7.0"
# Seconds to connect, and to wait for an answer.
_TIMEOUT = (5, 30)
# All that the API server says of a JSON patch whose test fails.
_FAILED_TEST = "the server rejected our request due to an error in our request"
_CANNOT = re.compile(r'User "([^"]*)" cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')


class KubernetesError(RaycxrError):
    """Kubernetes cannot be reached, or refuses."""

    kind = "kubernetes"


class UnreachableError(KubernetesError):
    """The API server does not answer, which may pass."""


class AbsentError(KubernetesError):
    """The API server knows the kind, but nothing of that name."""


class ForbiddenError(KubernetesError):
    """A right is missing."""


class ConflictError(KubernetesError):
    """It exists already, or is no longer as it was."""


@dataclass(frozen=True)
class Kubernetes:
    """One API server and the namespace that is spoken of.

    Attributes
    ----------
    origin : str
        How it was found: a context of a kubeconfig, or the ServiceAccount of this pod.
    """

    client: client.ApiClient
    namespace: str
    origin: str

    @property
    def host(self) -> str:
        """URL of the API server."""
        return str(self.client.configuration.host)

    def get(self, plural: str, name: str) -> dict[str, Any]:
        """Return a Ray resource."""
        with self.told(KINDS[plural], name):
            found = self._custom().get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, plural, name, _request_timeout=_TIMEOUT
            )
        return self._document(found)

    def list(self, plural: str) -> list[dict[str, Any]]:
        """Return the Ray resources of a kind."""
        with self.told(KINDS[plural], None):
            listed = self._custom().list_namespaced_custom_object(
                GROUP, VERSION, self.namespace, plural, _request_timeout=_TIMEOUT
            )
        return list(self._document(listed)["items"])

    def create(self, plural: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Ray resource; `ConflictError` where there is one of its name."""
        with self.told(KINDS[plural], manifest["metadata"]["name"]):
            created = self._custom().create_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                plural,
                manifest,
                field_manager="raycxr",
                # For custom objects the client forgets to say so.
                _headers={"Content-Type": "application/json"},
                _request_timeout=_TIMEOUT,
            )
        return self._document(created)

    def patch(self, plural: str, name: str, operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Change a Ray resource by a JSON patch; `ConflictError` where one of its tests fails."""
        with self.told(KINDS[plural], name):
            changed = self._custom().patch_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                plural,
                name,
                list(operations),
                field_manager="raycxr",
                _content_type="application/json-patch+json",
                _request_timeout=_TIMEOUT,
            )
        return self._document(changed)

    def quotas(self) -> Sequence[Any]:
        """Return the ResourceQuotas of the namespace."""
        with self.told("ResourceQuota", None):
            listed = self._core().list_namespaced_resource_quota(self.namespace, _request_timeout=_TIMEOUT)
        return list(listed.items)

    def pods(self, labels: Mapping[str, str]) -> Sequence[Any]:
        """Return the pods of the namespace that have these labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        with self.told("Pod", None):
            listed = self._core().list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=_TIMEOUT
            )
        return list(listed.items)

    def pod_log(self, name: str, container: str) -> Any:
        """Return the stream of a container's log, from its beginning to its end."""
        with self.told("Pod", name):
            return self._core().read_namespaced_pod_log(
                name,
                self.namespace,
                container=container,
                follow=True,
                _preload_content=False,
                _request_timeout=_TIMEOUT,
            )

    def may(self, verb: str, plural: str) -> bool:
        """Return whether this user may do so with a Ray resource of the namespace."""
        attributes = client.V1ResourceAttributes(group=GROUP, resource=plural, verb=verb, namespace=self.namespace)
        review = client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        )
        with self.told("SelfSubjectAccessReview", None):
            answer = client.AuthorizationV1Api(self.client).create_self_subject_access_review(
                review, _request_timeout=_TIMEOUT
            )
        return bool(answer.status.allowed)

    @contextmanager
    def told(self, kind: str, name: str | None) -> Iterator[None]:
        """Turn failures of the `with` block into one line each."""
        try:
            yield
        except ApiException as error:
            raise _explained(error, self, kind, name) from None
        except urllib3.exceptions.HTTPError as error:
            reason = re.sub(r"^.*>: |^HTTPS?ConnectionPool\([^)]*\): ", "", str(error))
            raise UnreachableError(
                f"no Kubernetes API server answers at {self.host} ({self.origin}): {reason}",
                "check the context (kubectl config get-contexts) and the way to the server (VPN, kubectl get nodes)",
            ) from None

    def _document(self, answer: Any) -> dict[str, Any]:
        """Refuse what the client takes for text, such as the page of a proxy that wants a login."""
        if not isinstance(answer, dict) or "kind" not in answer:
            raise KubernetesError(
                f"what answers at {self.host} ({self.origin}) is no API server of Kubernetes",
                "check the context (kubectl config get-contexts), and whether a proxy is between",
            )
        return answer

    def _custom(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.client)

    def _core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.client)


def _explained(error: ApiException, kubernetes: Kubernetes, kind: str, name: str | None) -> KubernetesError:
    """Explain a refusal by the `Status` that the API server gives with it."""
    try:
        status = json.loads(error.body or "")
    except (ValueError, TypeError):
        status = {}
    told = status.get("message") if isinstance(status, dict) else None
    message = " ".join(str(told or error.body or error.reason or "").split())[:500]
    called = f"{kind} {name}" if name else f"{kind}s"
    where = f"namespace {kubernetes.namespace}"
    if error.status == 401:
        return KubernetesError(
            f"the API server {kubernetes.host} does not know who you are ({kubernetes.origin}): {message}",
            "log in again; credentials of a context expire",
        )
    if error.status == 403 and (cannot := _CANNOT.search(message)):
        user, verb, plural, group = cannot.groups()
        resource = f"{plural}.{group}" if group else plural
        return ForbiddenError(
            f"no right to {verb} {resource} in {where} (as {user})",
            f"a Role must allow the verb {verb} on {resource}; see: kubectl auth can-i {verb} {resource} -n "
            f"{kubernetes.namespace}",
        )
    if error.status == 403:
        return ForbiddenError(f"Kubernetes forbids it: {message}", "see the quota and policies of the namespace")
    if error.status == 404 and (not told or "could not find the requested resource" in message):
        return KubernetesError(
            f"{kubernetes.host} does not know the kind {kind} of {GROUP}/{VERSION}", f"install KubeRay: {KUBERAY}"
        )
    if error.status == 404:
        return AbsentError(f"no {called} in {where}: {message}", "check the name and the namespace")
    if error.status == 409 or (error.status == 422 and _FAILED_TEST in message):
        return ConflictError(f"{called} in {where}: {message}", "run it again")
    if error.status is not None and (error.status >= 500 or error.status == 429):
        return UnreachableError(
            f"the API server {kubernetes.host} answers {error.status}: {message}", "try again later"
        )
    return KubernetesError(f"Kubernetes refuses {called} in {where}: {message}", "mend what it names")
