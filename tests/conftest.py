"""Fixtures that several rooms share: a true S3 server and its buckets."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from s3_server import S3Server

_CREDENTIALS_ELSEWHERE = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server for the whole session, to which the ``AWS_*`` variables point; for tests marked slow."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name in _CREDENTIALS_ELSEWHERE:
            patch.delenv(name, raising=False)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield server


@pytest.fixture(scope="session")
def s3(s3_server: S3Server) -> str:
    """URI of a bucket of this session: ``s3://test-...``."""
    bucket = f"test-{secrets.token_hex(6)}"
    s3_server.create_bucket(bucket)
    return f"s3://{bucket}"


@pytest.fixture
def s3_folder(s3: str) -> str:
    """URI of an empty folder in the session's bucket."""
    return f"{s3}/{secrets.token_hex(6)}"
