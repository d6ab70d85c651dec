"""An HTTP server that answers as MLflow's tracking server does, for the requests that follow a run.

Paths, documents, error codes and limits are those of MLflow 3.17. It keeps every figure that comes in, also one that
came before: what a real server would merge is seen here.
"""

from __future__ import annotations

import json
import secrets
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from local_http_server import LocalHttpServer

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
LONGEST_PARAMETER, LONGEST_TAG, MOST_PARAMETERS, MOST_METRICS = 6000, 8000, 100, 1000


class RefusalError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.document = status, {"error_code": code, "message": message}


@dataclass
class TrackedRun:
    """One run: `metrics` in the order in which they came, as (name, step, value)."""

    id: str
    experiment: str
    name: str
    status: str = "RUNNING"
    statuses: list[str] = field(default_factory=list)
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, int, float, int]] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)

    def values(self, name: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, in the order in which they came."""
        return [(step, value) for key, step, value, _ in self.metrics if key == name]


class MlflowServer(LocalHttpServer):
    """A tracking server on a free port.

    Attributes
    ----------
    answers : {"yes", "no", "busy", "never"}
        Whether it answers; "no": connections end without an answer, "busy": status 503, "never": they stay open.
    asked : list of str
        Method and path of every request, answered or not.
    unknown : list of str
        Requests that it does not know.
    """

    def __init__(self) -> None:
        self.experiments: list[str] = []
        self.runs: dict[str, TrackedRun] = {}
        self.answers: Literal["yes", "no", "busy", "never"] = "yes"
        self.asked: list[str] = []
        self.authorizations: set[str | None] = set()
        self.unknown: list[str] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        return _handler(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended.set()
        super().__exit__(kind, error, traceback)

    @property
    def only_run(self) -> TrackedRun:
        (run,) = self.runs.values()
        return run

    def answer(self, method: str, path: str, given: dict[str, Any], body: bytes) -> Any:
        """Return the document that answers a request."""
        if path.startswith(ARTIFACTS):
            return self._artifacts(method, path[len(ARTIFACTS) :].lstrip("/"), body)
        with self.lock:
            match method, path.removeprefix(API):
                case "GET", "experiments/get-by-name":
                    return {"experiment": self._experiment(given["experiment_name"])}
                case "POST", "experiments/create":
                    self.experiments.append(given["name"])
                    return {"experiment_id": str(len(self.experiments))}
                case "POST", "runs/create":
                    run = TrackedRun(secrets.token_hex(16), given["experiment_id"], given["run_name"])
                    run.tags.update({tag["key"]: tag["value"] for tag in given["tags"]})
                    self.runs[run.id] = run
                    return {"run": _document(run)}
                case "GET", "runs/get":
                    return {"run": _document(self._run(given))}
                case "POST", "runs/update":
                    run = self._run(given)
                    run.status = given["status"]
                    run.statuses.append(run.status)
                    return {"run_info": _document(run)["info"]}
                case "POST", "runs/set-tag":
                    self._run(given).tags[given["key"]] = given["value"]
                    return {}
                case "POST", "runs/log-batch":
                    _log(self._run(given), given)
                    return {}
                case "GET", "metrics/get-history":
                    name = given["metric_key"]
                    kept = [metric for metric in self._run(given).metrics if metric[0] == name]
                    return {"metrics": [_metric(*metric) for metric in kept]}
        self.unknown.append(f"{method} {path}")
        raise RefusalError(404, "ENDPOINT_NOT_FOUND", f"no endpoint {path}")

    def _experiment(self, name: str) -> dict[str, str]:
        if name not in self.experiments:
            raise RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"Could not find experiment with name '{name}'")
        place = str(self.experiments.index(name) + 1)
        return {"experiment_id": place, "name": name, "lifecycle_stage": "active"}

    def _run(self, given: dict[str, Any]) -> TrackedRun:
        if given["run_id"] not in self.runs:
            raise RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"Run with id={given['run_id']} not found")
        return self.runs[given["run_id"]]

    def _artifacts(self, method: str, path: str, body: bytes) -> Any:
        experiment, run, folder, name = unquote(path).split("/", 3)
        assert (method, self.runs[run].experiment, folder) == ("PUT", experiment, "artifacts")
        self.runs[run].artifacts[name] = body
        return {}


def _log(run: TrackedRun, given: dict[str, Any]) -> None:
    parameters = {one["key"]: one["value"] for one in given.get("params", [])}
    tags = {one["key"]: one["value"] for one in given.get("tags", [])}
    if len(parameters) > MOST_PARAMETERS or len(given.get("metrics", [])) > MOST_METRICS:
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "too many in one request")
    if any(run.parameters.get(name, value) != value for name, value in parameters.items()):
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed")
    if any(len(value) > LONGEST_PARAMETER for value in parameters.values()) or any(
        len(value) > LONGEST_TAG for value in tags.values()
    ):
        raise RefusalError(400, "INVALID_PARAMETER_VALUE", "exceeds the maximum length")
    run.parameters.update(parameters)
    run.tags.update(tags)
    run.metrics += [
        (one["key"], int(one["step"]), float(one["value"]), int(one["timestamp"])) for one in given.get("metrics", [])
    ]


def _document(run: TrackedRun) -> dict[str, Any]:
    info = {
        "run_id": run.id,
        "run_uuid": run.id,
        "experiment_id": run.experiment,
        "run_name": run.name,
        "status": run.status,
        "artifact_uri": f"mlflow-artifacts:/{run.experiment}/{run.id}/artifacts",
        "lifecycle_stage": "active",
    }
    data = {
        "params": [{"key": name, "value": value} for name, value in run.parameters.items()],
        "tags": [{"key": name, "value": value} for name, value in run.tags.items()],
    }
    return {"info": info, "data": data}


def _metric(name: str, step: int, value: float, timestamp: int) -> dict[str, Any]:
    return {"key": name, "step": step, "value": value, "timestamp": timestamp}


def _handler(server: MlflowServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self._body()
            server.asked.append(f"{self.command} {parts.path}")
            server.authorizations.add(self.headers.get("Authorization"))
            if server.answers == "never":
                server.ended.wait()
            if server.answers in ("no", "never"):
                self.close_connection = True
                return
            if server.answers == "busy":
                self._send(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "try later"})
                return
            given = dict(parse_qsl(parts.query))
            if self.command == "POST":
                given |= json.loads(body)
            try:
                self._send(200, server.answer(self.command, parts.path, given, body))
            except RefusalError as refusal:
                self._send(refusal.status, refusal.document)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _send(self, status: int, document: Any) -> None:
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
