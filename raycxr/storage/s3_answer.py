"""What an S3 server, or the way to it, answered when a request failed: does it pass, and how is it told."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    SSLError,
)

from raycxr.errors import StorageError
from raycxr.storage.failures import MissingBucketError, MissingError

_NO_CONNECTION = "NetworkConnection"
_NO_CERTIFICATE = "Certificate"
_NO_CREDENTIALS = "NoCredentials"
_NO_ROLE = "Role"
_PASSING_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset(
    {
        _NO_CONNECTION,
        "InternalError",
        "InternalFailure",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_WRONG_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignature",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClient",
    }
)
_RIGHTS = {"read": "GetObject", "write": "PutObject", "list": "ListBucket", "delete": "DeleteObject"}


@dataclass(frozen=True)
class Answer:
    """A failed request.

    Parameters
    ----------
    code : str
        S3's error code in its own spelling (``NoSuchBucket``), or one of ours for what never reached it.
    status : int
        HTTP status; 0 where it is unknown.
    text : str
        The explanation that came with it, on one line; never a secret.
    address : str
        The URL that could not be reached, where it is known.
    """

    code: str
    status: int = 0
    text: str = ""
    address: str = ""

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.status in _PASSING_STATUS or self.code in _PASSING_CODES

    @property
    def refuses_credentials(self) -> bool:
        """Whether other credentials might succeed."""
        # Amazon answers a HEAD request with an expired token by 400 without a word.
        silent = self.status == 400 and not self.code
        return silent or self.status in (401, 403) or self.code in {"AccessDenied", *_WRONG_CREDENTIALS}

    def as_error(self, action: str, uri: str, endpoint: str) -> StorageError:
        """Tell it to the user.

        Parameters
        ----------
        action : str
            What was tried: ``"read"``, ``"write"``, ``"list"`` or ``"delete"``.
        uri : str
            ``s3://bucket/key``.
        endpoint : str
            URL of the server; empty for Amazon's.
        """
        server = _without_password(self.address or endpoint) or "Amazon S3"
        bucket = uri.removeprefix("s3://").partition("/")[0]
        if self.code == "NoSuchBucket":
            remedy = "make the bucket, or correct the URI or AWS_ENDPOINT_URL"
            return MissingBucketError(f"no such bucket: s3://{bucket} at {server}", remedy)
        if self.code == "NoSuchKey" or self.status == 404:
            return MissingError(f"no such file: {uri}", "correct the path")
        if self.code == "PreconditionFailed" or self.status == 412:
            return StorageError(f"{uri} was replaced while it was read", "start the reading again")
        if self.code in _WRONG_CREDENTIALS:
            remedy = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or the pod's role"
            return StorageError(f"credentials refused: cannot {action} {uri} ({self.code})", remedy)
        if self.code == "RequestTimeTooSkewed":
            return StorageError(f"cannot {action} {uri}: the clocks differ", "set the clock of this machine")
        if self.refuses_credentials:
            remedy = f"check the credentials, and that they have the right s3:{_RIGHTS[action]} there"
            return StorageError(f"no right to {action} {uri} ({self.status or 403})", remedy)
        if self.code == _NO_CREDENTIALS:
            remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the pod a role"
            return StorageError(f"no credentials found: cannot {action} {uri}", remedy)
        if self.code == _NO_ROLE:
            remedy = "check AWS_ROLE_ARN and whom that role trusts"
            return StorageError(f"cannot take the role that should {action} {uri}: {self.text}", remedy)
        if self.code == _NO_CERTIFICATE:
            remedy = "name the certificate authority in AWS_CA_BUNDLE"
            return StorageError(f"the certificate of {server} is not trusted: cannot {action} {uri}", remedy)
        if self.code == _NO_CONNECTION:
            remedy = "check the network and AWS_ENDPOINT_URL"
            return StorageError(f"cannot reach {server} to {action} {uri}", remedy)
        told = " ".join(word for word in (str(self.status or ""), self.code, self.text) if word)
        remedy = "try again later" if self.passes else ""
        return StorageError(f"cannot {action} {uri}: {told}", remedy)


def answer_of(error: BotoCoreError | ClientError) -> Answer:
    """Return what an error of boto3 says."""
    if isinstance(error, ClientError):
        return _client_answer(error)
    if isinstance(error, NoCredentialsError):
        return Answer(_NO_CREDENTIALS)
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Answer(_NO_CERTIFICATE)
    if isinstance(error, (ConnectionError, HTTPClientError, IncompleteReadError)):
        return Answer(_NO_CONNECTION, address=str(error.kwargs.get("endpoint_url", "")))
    return Answer(type(error).__name__, text=_one_line(str(error)))


def _client_answer(error: ClientError) -> Answer:
    code = _one_line(str(error.response.get("Error", {}).get("Code", "")))
    text = _one_line(str(error.response.get("Error", {}).get("Message", "")))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if error.operation_name.startswith("AssumeRole") and status not in _PASSING_STATUS:
        return Answer(_NO_ROLE, text=f"{code} {text}")
    # The answer to a HEAD request has no body: botocore repeats the status as its code.
    return Answer("" if code == str(status) else code, status, text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
