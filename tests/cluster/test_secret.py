"""No secret travels with a job, however it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.cluster.command import make_command
from raycxr.cluster.secret import is_secret_name, parse_environment
from raycxr.errors import UsageError


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "aws_secret_access_key",
        "RAY_AUTH_TOKEN",
        "RAYCXR_PATIENT_KEY",
        "HF_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
        "WANDB_API_KEY",
        "DB_PASSWD",
        "AZURE_STORAGE_CONNECTION_STRING",
        "GITHUB_PAT",
        "REDISCLI_AUTH",
        "MYSQL_PWD",
        "GHAUTHTOKEN",
    ],
)
def test_variables_that_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "from here")
    for assignment in (f"{name}=open sesame", name):
        with pytest.raises(UsageError) as error:
            parse_environment([assignment])
        assert name in error.value.message
        assert "sesame" not in str(error.value)
        assert "from here" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "RAY_AUTH_TOKEN_PATH",
        "TOKENIZERS_PARALLELISM",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "MAX_TOKENS",
        "PWD",
    ],
)
def test_variables_that_travel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_secret_name(name)
    monkeypatch.setenv(name, "here")
    assert parse_environment([f"{name}=a=b"]) == {name: "a=b"}
    assert parse_environment([name]) == {name: "here"}


def test_what_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSENT", raising=False)
    for assignment in ("=x", "1A=x", "A B=x", "ABSENT"):
        with pytest.raises(UsageError):
            parse_environment([assignment])


def test_values_of_secrets_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    with pytest.raises(UsageError, match=r"--env HINT holds the value of \$AWS_SECRET_ACCESS_KEY"):
        parse_environment(["HINT=so wJalrXUtnFEMI"])
    with pytest.raises(UsageError, match=r"the argument train\.name holds the value"):
        make_command(["train", "x.yaml", "train.name=wJalrXUtnFEMI"])
    # Of two arguments of one key both are looked at; one without a key is named by its place.
    for arguments in (["train", "x.yaml", "train.name=wJalrXUtnFEMI", "train.name=fine"], ["runs", "wJalrXUtnFEMI"]):
        with pytest.raises(UsageError, match=r"the argument train\.name|argument 2 holds the value") as error:
            make_command(arguments)
        assert "wJalr" not in str(error.value)
    config = tmp_path / "x.yaml"
    config.write_text("train: {name: wJalrXUtnFEMI}\n")
    with pytest.raises(UsageError, match=r"x\.yaml holds the value") as error:
        make_command(["train", str(config)], config)
    assert "wJalr" not in str(error.value)


def test_urls_with_passwords() -> None:
    with pytest.raises(UsageError, match="a URL with a password"):
        parse_environment(["AWS_ENDPOINT_URL=http://me:open-sesame@s3.example"])
    for url in ("http://me:open-sesame@s3.example/x", "https://s3.example/x?X-Amz-Signature=open-sesame"):
        with pytest.raises(UsageError, match="argument 2 holds a URL with a password") as error:
            make_command(["runs", url])
        assert "sesame" not in str(error.value)
    assert parse_environment(["AWS_ENDPOINT_URL=http://s3.example:9000/a@b:c"]) != {}
