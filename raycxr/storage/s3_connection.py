"""This process's connection to S3: credentials that stay valid, and outages that are outlasted.

* Credentials come from botocore's own chain alone (environment, profile, web identity of a pod, role of the
  instance). Those that botocore can refresh are refreshed by it; where a server refuses the ones in use, the
  chain is read again, and only if it holds others is the request repeated.
* Endpoint, region and profile are the ones that the ``AWS_*`` variables and the AWS configuration name.
* What passes (no connection, 5xx, throttling) is repeated for as long as `raycxr.storage.patience` says; what does
  not (no bucket, no key, no right) fails at once.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3.session
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError, NoCredentialsError

from raycxr.storage.patience import LONG_SECONDS, short_patience
from raycxr.storage.s3_answer import answer_of

Result = TypeVar("Result")

_AMAZON = re.compile(r"^s3[.-]([a-z0-9-]+\.)?amazonaws\.com(\.cn)?$")
_LONGEST_PAUSE = 8.0


class Connection:
    """A client with the credentials and the address that it was made for.

    Attributes
    ----------
    client : object
        boto3's S3 client: safe for threads, not for forked processes.
    impatient_client : object
        The same, but it asks once only and does not wait long for an answer.
    endpoint : str
        URL of a server other than Amazon's, else an empty string.
    """

    def __init__(self) -> None:
        # botocore itself does not know AWS_REGION, which the other SDKs read and EKS sets.
        session = boto3.session.Session(region_name=os.environ.get("AWS_REGION") or None)
        self._credentials = session.get_credentials()
        self.client = _client(session, attempts=3, read_timeout=60)
        self.impatient_client = _client(session, attempts=1, read_timeout=15)
        url = str(self.client.meta.endpoint_url)
        self.endpoint = "" if _AMAZON.match(urlsplit(url).hostname or "") else url

    def credentials(self) -> ReadOnlyCredentials:
        """Return the credentials that are valid now, refreshed by botocore if they are about to expire."""
        if self._credentials is None:
            raise NoCredentialsError
        return self._credentials.get_frozen_credentials()


def _client(session: boto3.session.Session, attempts: int, read_timeout: int) -> Any:
    # botocore takes path-style addresses for any endpoint that is given, unless configured otherwise.
    client = session.client(
        "s3",
        region_name=session.region_name or "us-east-1",
        config=Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=5,
            read_timeout=read_timeout,
            max_pool_connections=32,
        ),
    )
    client.meta.events.register("before-parse.s3", _refuse_half_an_answer)
    return client


def _refuse_half_an_answer(response_dict: dict[str, Any], **_: Any) -> None:
    """Raise where a connection broke within the header of an answer.

    What is missing there is the length, without which botocore takes no byte for the whole object, and no name for
    all that a folder holds.
    """
    headers = response_dict["headers"]
    # Failures are told by their status alone, and 204 is the one success without content.
    with_content = response_dict["status_code"] in (200, 206)
    if with_content and not (headers.get("content-length") or headers.get("transfer-encoding")):
        raise IncompleteReadError(actual_bytes=0, expected_bytes=-1)


class _Current:
    """The connection in use, with what it depends on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Connection | None = None
        self.key: tuple[object, ...] = ()


_current = _Current()


def _forget() -> None:
    """Leave the parent's sockets and a lock that may be held for ever to the parent."""
    global _current
    _current = _Current()


os.register_at_fork(after_in_child=_forget)


def connection() -> Connection:
    """Return this process's connection; a new one after a fork or a change of an ``AWS_*`` variable."""
    key = (os.getpid(), *sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    with _current.lock:
        if _current.connection is None or _current.key != key:
            _current.connection, _current.key = Connection(), key
        return _current.connection


def attempt(action: str, uri: str, request: Callable[[Any], Result]) -> Result:
    """Return what `request` returns, repeated while it fails in a way that passes.

    Parameters
    ----------
    action : str
        What it does, for the message: ``"read"``, ``"write"``, ``"list"`` or ``"delete"``.
    uri : str
        The location, for the message.
    request : callable
        Makes its whole request anew at each call, with the client that it is given.

    Raises
    ------
    StorageError
        For every failure that S3, or the way to it, answers; other errors pass through.
    """
    limit = short_patience.get()
    # With much patience an outage counts from its first failure: a large upload may have gone well for long before.
    outage_began = None if limit is None else time.monotonic()
    pause = 0.25
    renewed = False
    while True:
        used: Connection | None = None
        try:
            used = connection()
            return request(used.client if limit is None else used.impatient_client)
        except (BotoCoreError, ClientError) as error:
            answer = answer_of(error)
            failure = error
        if answer.refuses_credentials and used is not None and not renewed:
            renewed = True
            if _renew(used):
                continue
        now = time.monotonic()
        outage_began = now if outage_began is None else outage_began
        left = outage_began + (LONG_SECONDS if limit is None else limit) - now
        if not answer.passes or left <= 0:
            raise answer.as_error(action, uri, used.endpoint if used else "") from failure
        # Random, so that the workers of a cluster do not all return at the same moment.
        time.sleep(min(pause * random.uniform(0.5, 1.0), left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def _renew(refused: Connection) -> bool:
    """Read the chain of credentials again; whether it now holds others than the refused ones."""
    with _current.lock:
        if _current.connection is not refused:
            return True  # another thread was faster
        try:
            fresh = Connection()
            if fresh.credentials() == refused.credentials():
                return False
        except (BotoCoreError, ClientError):  # a chain that fails holds none; the refusal says more to the user
            return False
        _current.connection = fresh
        return True
