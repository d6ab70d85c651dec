"""The section `tracking`: where a run is followed while it trains, besides `history.jsonl`."""

from __future__ import annotations

import os
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from raycxr.config.section import Section

SERVER_VARIABLE = "MLFLOW_TRACKING_URI"


def _server_of_environment() -> str | None:
    """What MLflow's own variable names, where that is a server and not a store of another kind."""
    uri = os.environ.get(SERVER_VARIABLE, "")
    return uri if uri.startswith(("http://", "https://")) else None


class TrackingSection(Section):
    """Curves, overlays and figures of a run. None of it changes what is learned."""

    tensorboard: bool = Field(True, description="configuration, curves and overlays in RUN/tensorboard")
    mlflow: str | None = Field(
        default_factory=_server_of_environment,
        validate_default=True,
        description="MLflow server, such as http://raycxr-mlflow:5000; where unset, $MLFLOW_TRACKING_URI if it is one",
    )
    experiment: str = Field("raycxr", min_length=1, max_length=500, description="experiment of the MLflow server")
    overlays: Annotated[int, Field(ge=0)] = Field(
        4, description="validation films that TensorBoard and MLflow show at each best epoch; 0: none"
    )
    prometheus: bool = Field(True, description="workers on Ray publish speed, waiting, memory and loss as metrics")
    profile: bool = Field(False, description="a few steps of the first epoch are profiled; raycxr train --profile")

    @field_validator("mlflow")
    @classmethod
    def _server_without_password(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        # What is refused is not repeated: it may hold a password.
        try:
            parts = urlsplit(uri)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            raise ValueError("is not a URI, give one such as http://raycxr-mlflow:5000") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "the address of the server (tracking.mlflow or $MLFLOW_TRACKING_URI) holds a user name or password, "
                "give them in the environment as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        if not whole or parts.query or parts.fragment:
            raise ValueError("is not the address of a server, give one such as http://raycxr-mlflow:5000")
        return uri.rstrip("/")
