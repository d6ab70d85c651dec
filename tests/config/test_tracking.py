"""Where a run is followed: an address without a password, or none."""

from __future__ import annotations

import pytest

from raycxr.config.load import check_config, to_yaml
from raycxr.config.sections import Config
from raycxr.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def with_server(uri: str | None) -> Config:
    return check_config({"tracking": {"mlflow": uri}}, "here", [f"tracking.mlflow={uri}"])


@pytest.mark.parametrize("uri", ["http://raycxr-mlflow:5000", "https://mlflow.example.org/team/", "http://[::1]:5000"])
def test_a_server(uri: str) -> None:
    assert with_server(uri).tracking.mlflow == uri.rstrip("/")


@pytest.mark.parametrize("uri", ["http://me:hush@server:5000", "https://hush@server", "http://:hush@server"])
def test_a_password_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        with_server(uri)
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "databricks", "http://", "http://a:b", "http://a/?token=hush", "http://[a"]
)
def test_what_is_no_server(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="give one such as http://raycxr-mlflow:5000") as caught:
        with_server(uri)
    assert "tracking.mlflow" in str(caught.value)


def test_the_variable_of_mlflow_names_a_server_where_the_configuration_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Config().tracking.mlflow is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert Config().tracking.mlflow == "http://server:5000"
    assert with_server("http://other:5000").tracking.mlflow == "http://other:5000"
    # Null says that there is none, also in what is written.
    assert with_server(None).tracking.mlflow is None
    assert "mlflow: null" in to_yaml(with_server(None))
    # A store of another kind is for other programs.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert Config().tracking.mlflow is None


def test_a_password_in_the_variable_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hush@server:5000")
    with pytest.raises(ConfigurationError, match=r"\$MLFLOW_TRACKING_URI") as caught:
        check_config({}, "here")
    assert "hush" not in str(caught.value)
