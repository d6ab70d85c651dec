"""How the failures of S3 are sorted and told."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSLError,
)
from hypothesis import given
from hypothesis import strategies as st

from raycxr.storage.failures import MissingError
from raycxr.storage.s3_answer import Answer, answer_of

URL = "https://user:hidden@s3.hospital.example:9000/bucket/key"


def refusal(code: str, status: int, message: str = "Said\nso.", operation: str = "GetObject") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


@pytest.mark.parametrize(
    ("error", "passes", "message", "remedy"),
    [
        (refusal("NoSuchBucket", 404), False, "no such bucket: s3://bucket at https://host", "make the bucket"),
        (refusal("NoSuchKey", 404), False, "no such file: s3://bucket/key", "correct the path"),
        (refusal("404", 404, operation="HeadObject"), False, "no such file: s3://bucket/key", "correct"),
        (refusal("AccessDenied", 403), False, "no right to write s3://bucket/key (403)", "s3:PutObject"),
        (refusal("403", 403, operation="HeadObject"), False, "no right to write s3://bucket/key (403)", "check"),
        (refusal("400", 400, operation="HeadObject"), False, "no right to write s3://bucket/key (400)", "check"),
        (refusal("InvalidAccessKeyId", 403), False, "credentials refused", "AWS_ACCESS_KEY_ID"),
        (refusal("SignatureDoesNotMatch", 403), False, "credentials refused", "AWS_SECRET_ACCESS_KEY"),
        (refusal("ExpiredToken", 400), False, "(ExpiredToken)", "role"),
        (refusal("RequestTimeTooSkewed", 403), False, "the clocks differ", "set the clock"),
        (refusal("PreconditionFailed", 412), False, "was replaced while it was read", "again"),
        (refusal("SlowDown", 503), True, "503 SlowDown Said so.", "later"),
        (refusal("InternalError", 500), True, "500 InternalError", "later"),
        (refusal("502", 502, operation="HeadObject"), True, "502", "later"),
        (refusal("NotImplemented", 501), False, "501 NotImplemented Said so.", ""),
        (refusal("InvalidBucketName", 400), False, "InvalidBucketName Said so.", ""),
        (
            refusal("AccessDenied", 403, operation="AssumeRoleWithWebIdentity"),
            False,
            "cannot take the role that should write s3://bucket/key: AccessDenied Said so.",
            "AWS_ROLE_ARN",
        ),
        (EndpointConnectionError(endpoint_url=URL), True, "cannot reach https://s3.hospital.example:9000", "network"),
        (ConnectTimeoutError(endpoint_url=URL), True, "cannot reach https://s3.hospital.example:9000", "network"),
        (ConnectionClosedError(endpoint_url=URL), True, "cannot reach https://s3.hospital.example:9000", "network"),
        (ReadTimeoutError(endpoint_url=URL), True, "cannot reach https://s3.hospital.example:9000", "network"),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), True, "cannot reach https://host", "network"),
        (SSLError(endpoint_url=URL, error=OSError("EOF occurred")), True, "cannot reach", "network"),
        (SSLError(endpoint_url=URL, error=OSError("CERTIFICATE_VERIFY_FAILED")), False, "not trusted", "AWS_CA_BUNDLE"),
        (NoCredentialsError(), False, "no credentials found", "AWS_PROFILE"),
        (PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), False, "AWS_SECRET_ACC", ""),
        (CredentialRetrievalError(provider="web", error_msg="no\nfile"), False, "no file", ""),
        (ProfileNotFound(profile="ward"), False, "(ward)", ""),
    ],
)
def test_each_failure_is_told_with_what_mends_it(
    error: BotoCoreError | ClientError, passes: bool, message: str, remedy: str
) -> None:
    answer = answer_of(error)
    told = answer.as_error("write", "s3://bucket/key", "https://host")
    assert answer.passes is passes
    assert message in told.message
    assert remedy in told.remedy
    assert "\n" not in str(told)
    assert "hidden" not in str(told)
    assert isinstance(told, MissingError) == message.startswith("no such")


@given(st.text(max_size=30), st.integers(0, 599), st.text(max_size=50))
def test_whatever_a_server_says_becomes_one_line(code: str, status: int, text: str) -> None:
    told = answer_of(refusal(code, status, text)).as_error("list", "s3://bucket", "")
    assert told.message
    assert len(str(told).splitlines()) == 1


def test_a_failing_server_may_recover_and_a_refusing_one_not() -> None:
    assert [status for status in (400, 403, 404, 408, 429, 500, 501, 503) if Answer("", status).passes] == [
        408,
        429,
        500,
        503,
    ]


def test_only_other_credentials_can_mend_a_refusal() -> None:
    refused = [Answer("", 400), Answer("ExpiredToken", 400), Answer("AccessDenied", 403), Answer("", 401)]
    others = [Answer("InvalidRequest", 400), Answer("NoSuchKey", 404), Answer("SlowDown", 503)]
    assert [answer.refuses_credentials for answer in (*refused, *others)] == [True] * 4 + [False] * 3
