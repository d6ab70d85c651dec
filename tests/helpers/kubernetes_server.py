"""An HTTP server that answers as the API server of Kubernetes does, for the few requests that raycxr makes.

Paths, verbs, content types, `Status` objects and texts are those of kube-apiserver 1.36; a request that it would not
take is answered by 400 and kept in `mistakes`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from local_http_server import LocalHttpServer

TOKEN = "a-token-of-the-test"
USER = "system:serviceaccount:films:submitter"
KINDS = {"rayclusters": "RayCluster", "rayjobs": "RayJob"}


@dataclass
class Request:
    """What came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    content_type: str
    body: Any


@dataclass
class KubernetesServer(LocalHttpServer):
    """One namespace of a cluster.

    Attributes
    ----------
    objects : dict
        Plural -> name -> object.
    rights : set of (verb, plural) or None
        What the caller may do; None for all.
    asked : set of (verb, plural)
        What it has done, or tried to.
    before_patch : callable
        Called with an object just before it is patched, as somebody else who is faster.
    is_away : bool
        Connections end without an answer.
    log_failure : (int, str, str) or None
        Code, reason and message with which logs are refused.
    """

    namespace: str = "films"
    objects: dict[str, dict[str, Any]] = field(default_factory=lambda: {plural: {} for plural in KINDS})
    quotas: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    rights: set[tuple[str, str]] | None = None
    asked: set[tuple[str, str]] = field(default_factory=set)
    has_kuberay: bool = True
    before_patch: Callable[[dict[str, Any]], None] | None = None
    is_away: bool = False
    log_failure: tuple[int, str, str] | None = None
    requests: list[Request] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    version: int = 100

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _handler(self)

    def write_kubeconfig(self, path: Path, token: str = TOKEN) -> Path:
        """Write two contexts, the current one of which leads here."""
        cluster = {"name": "here", "cluster": {"server": self.url}}
        elsewhere = {"name": "elsewhere", "cluster": {"server": "http://127.0.0.1:9"}}
        contexts = [
            {"name": "films-admin", "context": {"cluster": "here", "user": "me", "namespace": self.namespace}},
            {"name": "away", "context": {"cluster": "elsewhere", "user": "me"}},
        ]
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "films-admin",
            "clusters": [cluster, elsewhere],
            "contexts": contexts,
            "users": [{"name": "me", "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def add(self, plural: str, resource: dict[str, Any]) -> dict[str, Any]:
        """Store an object as if it had been created."""
        self.version += 1
        metadata = resource["metadata"] | {
            "namespace": self.namespace,
            "resourceVersion": str(self.version),
            "uid": f"uid-{self.version}",
            "generation": 1,
        }
        kept = {"apiVersion": "ray.io/v1", "kind": KINDS[plural], **copy.deepcopy(resource), "metadata": metadata}
        self.objects[plural][metadata["name"]] = kept
        return kept

    def answer(self, request: Request, token: str) -> tuple[int, Any]:
        """Return status and document; a plain text where the API server gives one."""
        self.requests.append(request)
        if token != f"Bearer {TOKEN}":
            return _status(401, "Unauthorized", "Unauthorized")
        parts = request.path.strip("/").split("/")
        if parts[:3] == ["apis", "authorization.k8s.io", "v1"]:
            asked = request.body["spec"]["resourceAttributes"]
            allowed = self.rights is None or (asked["verb"], asked["resource"]) in self.rights
            return 201, {**request.body, "status": {"allowed": allowed}}
        if parts[:2] == ["api", "v1"] and parts[2] == "namespaces":
            return self._core(request, parts[4], parts[5:])
        if parts[:3] == ["apis", "ray.io", "v1"] and self.has_kuberay and parts[5] in KINDS:
            return self._ray(request, parts[4], parts[5], parts[6:])
        return 404, "404 page not found\n"

    def _ray(self, request: Request, namespace: str, plural: str, rest: list[str]) -> tuple[int, Any]:
        verb = {"GET": "get" if rest else "list", "POST": "create", "PATCH": "patch"}[request.method]
        refusal = self._refuse(verb, plural, "ray.io", namespace)
        if refusal is not None:
            return refusal
        kept = self.objects[plural] if namespace == self.namespace else {}
        if verb == "list":
            # Items carry no kind of their own in a typed list, but those of custom resources do.
            return 200, {
                "apiVersion": "ray.io/v1",
                "kind": f"{KINDS[plural]}List",
                "metadata": {"resourceVersion": str(self.version)},
                "items": list(kept.values()),
            }
        if verb == "create":
            return self._create(request, namespace, plural)
        name = rest[0]
        if name not in kept:
            return _status(404, "NotFound", f'{plural}.ray.io "{name}" not found', {"name": name, "kind": plural})
        if verb == "get":
            return 200, kept[name]
        return self._patch(request, kept, name)

    def _create(self, request: Request, namespace: str, plural: str) -> tuple[int, Any]:
        body = request.body
        if request.content_type != "application/json":
            return self._mistake(415, f"the body of the request was in an unknown format: {request.content_type}")
        if (body.get("apiVersion"), body.get("kind")) != ("ray.io/v1", KINDS[plural]):
            return self._mistake(400, f"{body.get('kind')} in {body.get('apiVersion')} cannot be handled as a {plural}")
        if body["metadata"].get("namespace", namespace) != namespace:
            return self._mistake(400, "the namespace of the provided object does not match the namespace sent")
        name = body["metadata"]["name"]
        if name in self.objects[plural]:
            return _status(409, "AlreadyExists", f'{plural}.ray.io "{name}" already exists')
        if "rayClusterSpec" in body.get("spec", {}):
            # KubeRay makes the job's own cluster at once.
            labels = {"ray.io/originated-from-crd": "RayJob", "ray.io/originated-from-cr-name": name}
            own = {"metadata": {"name": f"{name}-x7k2p", "labels": labels}, "spec": body["spec"]["rayClusterSpec"]}
            self.add("rayclusters", own)
        return 201, self.add(plural, body)

    def _patch(self, request: Request, kept: dict[str, Any], name: str) -> tuple[int, Any]:
        if request.content_type != "application/json-patch+json" or not isinstance(request.body, list):
            return self._mistake(415, f"not a JSON patch: {request.content_type}")
        if self.before_patch is not None:
            self.before_patch(kept[name])
        changed = copy.deepcopy(kept[name])
        try:
            for operation in request.body:
                apply_operation(changed, operation)
        except (KeyError, IndexError, ValueError):
            return _status(422, "Invalid", "the server rejected our request due to an error in our request")
        self.version += 1
        changed["metadata"]["resourceVersion"] = str(self.version)
        changed["metadata"]["generation"] += 1
        kept[name] = changed
        return 200, changed

    def _core(self, request: Request, plural: str, rest: list[str]) -> tuple[int, Any]:
        if request.method != "GET":
            return self._mistake(405, f"{request.method} {plural}")
        resource = f"{plural}/{rest[1]}" if len(rest) > 1 else plural
        refusal = self._refuse("get" if rest else "list", resource, "", self.namespace)
        if refusal is not None:
            return refusal
        if resource == "pods/log":
            return self._log(request, rest[0])
        kinds = {"resourcequotas": ("ResourceQuotaList", self.quotas), "pods": ("PodList", self._selected(request))}
        kind, items = kinds[plural]
        return 200, {"apiVersion": "v1", "kind": kind, "metadata": {}, "items": items}

    def _log(self, request: Request, pod: str) -> tuple[int, Any]:
        if request.query.get("container") != ["ray-job-submitter"] or request.query.get("follow") != ["true"]:
            return self._mistake(400, f"a log is asked for by {request.query}")
        if self.log_failure is not None:
            return _status(*self.log_failure)
        if pod not in self.logs:
            return _status(400, "BadRequest", f'container "ray-job-submitter" in pod "{pod}" is waiting to start')
        return 200, self.logs[pod]

    def _selected(self, request: Request) -> list[dict[str, Any]]:
        selector = dict(pair.split("=") for pair in request.query.get("labelSelector", [""])[0].split(",") if pair)
        return [pod for pod in self.pods if selector.items() <= pod["metadata"]["labels"].items()]

    def _refuse(self, verb: str, resource: str, group: str, namespace: str) -> tuple[int, Any] | None:
        self.asked.add((verb, resource))
        if self.rights is None or (verb, resource) in self.rights:
            return None
        qualified = f"{resource}.{group}" if group else resource
        where = f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{namespace}"'
        return _status(403, "Forbidden", f'{qualified} is forbidden: User "{USER}" {where}')

    def _mistake(self, code: int, message: str) -> tuple[int, Any]:
        self.mistakes.append(message)
        return _status(code, "BadRequest", message)


def apply_operation(document: Any, operation: dict[str, Any]) -> None:
    """Apply one operation of a JSON patch (RFC 6902) to a member of an object."""
    *parents, last = operation["path"].strip("/").split("/")
    place = document
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    if operation["op"] == "test":
        if place[last] != operation["value"]:
            raise ValueError(operation["path"])
    elif operation["op"] == "add":
        place[last] = operation["value"]
    else:
        raise ValueError(operation["op"])


def _status(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> tuple[int, Any]:
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details or {},
        "code": code,
    }


def _handler(kubernetes: KubernetesServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._do()

        def do_POST(self) -> None:
            self._do()

        def do_PATCH(self) -> None:
            self._do()

        def _do(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            kind = (self.headers.get("Content-Type") or "").split(";")[0]
            request = Request(self.command, url.path, parse_qs(url.query), kind, body)
            if kubernetes.is_away:
                self.close_connection = True
                return
            code, document = kubernetes.answer(request, self.headers.get("Authorization") or "")
            is_text = isinstance(document, str)
            answer = document.encode() if is_text else json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if is_text else "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    return Handler
