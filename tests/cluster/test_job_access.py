"""Addresses at which no cluster answers, or another one than this machine's Ray can speak with."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import ray
from ray_head import free_port

from raycxr.cluster.connection import ClusterError
from raycxr.cluster.job_access import UnknownJobError, connect_job_api

TOKEN = "the-token-of-the-test"


class Dashboard:
    """Answers as the dashboard of a head does."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {
            "/api/authentication_mode": (200, json.dumps({"authentication_mode": "token"})),
            "/api/version": (200, json.dumps({"version": "4", "ray_version": ray.__version__})),
        }
        self.tokens: list[str | None] = []
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                dashboard.tokens.append(self.headers.get("Authorization"))
                unknown = (404, f"Job {self.path.rpartition('/')[2]} does not exist")
                status, text = dashboard.answers.get(self.path, unknown)
                wrong = dashboard.tokens[-1] != f"Bearer {TOKEN}" and self.path != "/api/authentication_mode"
                if wrong and "disabled" not in dashboard.answers["/api/authentication_mode"][1]:
                    status, text = 403, "Forbidden: Invalid authentication token"
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Dashboard]:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))
    head = Dashboard()
    thread = threading.Thread(target=head.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield head
    head.server.shutdown()
    head.server.server_close()


def test_where_the_token_lies(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with pytest.raises(ClusterError, match="wants a token, and there is none here"):
        connect_job_api(dashboard.url)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(f"{TOKEN}\n")
    connect_job_api(dashboard.url).check_same_version()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    with pytest.raises(ClusterError, match=r"does not accept the token of \$RAY_AUTH_TOKEN"):
        connect_job_api(dashboard.url)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    # What is given goes before the variables.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    assert connect_job_api(f"{dashboard.url}/").get_address() == dashboard.url
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", dashboard.url)
    assert connect_job_api(None).get_address() == dashboard.url
    assert connect_job_api(dashboard.url.removeprefix("http://")).get_address() == dashboard.url


def test_a_token_is_shown_to_none_that_wants_none(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    dashboard.answers["/api/authentication_mode"] = (200, '{"authentication_mode": "disabled"}')
    connect_job_api(dashboard.url)
    assert set(dashboard.tokens) == {None}


def test_another_version(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    dashboard.answers["/api/version"] = (200, '{"version": "4", "ray_version": "2.41.0"}')
    with pytest.raises(ClusterError, match=rf"runs Ray 2\.41\.0, here is {ray.__version__}") as error:
        connect_job_api(dashboard.url).check_same_version()
    assert "2.41.0" in error.value.remedy


def test_an_unknown_job(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    api = connect_job_api(dashboard.url)
    with pytest.raises(UnknownJobError, match="knows no job nobody"):
        api.get_job_info("nobody")
    assert api.find("nobody") is None


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ((200, "<html>a page</html>"), "no version of Ray"),
        ((200, "{}"), "no version of Ray"),
        ((502, "bad gateway"), "502"),
    ],
)
def test_another_server(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], part: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    dashboard.answers["/api/version"] = answer
    with pytest.raises(ClusterError, match=part):
        connect_job_api(dashboard.url)


def test_nobody(dashboard: Dashboard) -> None:
    port = free_port()
    for address in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(ClusterError, match=r"no Ray cluster answers at .*refused") as error:
            connect_job_api(address)
        assert "--address" in error.value.remedy
