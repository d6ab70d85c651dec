"""How the job API of a Ray cluster is found."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests

from raycxr.cluster.connection import ClusterError, check_reachable
from raycxr.cluster.ray_token import read_token, refused, token_origin
from raycxr.errors import first_line

if TYPE_CHECKING:
    from raycxr.cluster.job_api import JobApi

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
CHECK_ADDRESS = "check --address (such as http://localhost:8265 behind kubectl port-forward) and $RAY_ADDRESS"
_FIRST_SECONDS = 10
_PROBE_SECONDS = 2


class LostContactError(ClusterError):
    """The head does not answer: it may be restarting, or the way to it is cut."""


class UnknownJobError(ClusterError):
    """The cluster knows no job of this id."""


def connect_job_api(address: str | None) -> JobApi:
    """Find the job API of a cluster, with the token that it wants.

    Parameters
    ----------
    address : str or None
        `http://host:8265`, also without `http://`, an address of Ray (`host:6379`, `ray://host:10001`, `auto`), or
        None for ``$RAY_API_SERVER_ADDRESS``, ``$RAY_ADDRESS``, else the cluster on this machine.

    Raises
    ------
    ClusterError
        Nobody answers, no Ray cluster does, or it wants a token that is not here.
    """
    address = address or next((os.environ[name] for name in ADDRESS_VARIABLES if os.environ.get(name)), None)
    if address is not None and "://" not in address and _is_job_api(f"http://{address}"):
        address = f"http://{address}"
    headers: dict[str, str] = {}
    is_url = address is not None and address.startswith(("http://", "https://"))
    if address is not None and is_url:
        headers = _token_header(address.rstrip("/"))
    elif address is not None:
        check_reachable(address, CHECK_ADDRESS)
    # Ray reads it as it is imported, and ends the process where it should send a token that it lacks.
    os.environ["RAY_AUTH_MODE"] = "token" if token_origin() and not is_url else "disabled"
    from ray.exceptions import AuthenticationError, RpcError

    from raycxr.cluster.job_api import JobApi

    # It tells of each upload and each connection that ends.
    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.WARNING)
    try:
        with _address_variables(address):
            return JobApi(address, headers=headers)
    except (ConnectionError, RpcError, RuntimeError) as error:
        first = first_line(error)
        told = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise ClusterError(f"cannot find {told}: {first}", CHECK_ADDRESS) from None
    except AuthenticationError:
        raise refused(address or "this machine") from None
    except (requests.exceptions.RequestException, ValueError, KeyError) as error:
        refusal = isinstance(error, requests.exceptions.HTTPError)
        reason = request_reason(error) if refusal else "its answer names no version of Ray"
        raise ClusterError(f"what answers at {address} is no Ray cluster: {reason}", CHECK_ADDRESS) from None


def _is_job_api(url: str) -> bool:
    """Whether a job API answers; Ray would take such an address for its control service, and wait for 40 seconds."""
    try:
        return requests.get(f"{url}/api/authentication_mode", timeout=_PROBE_SECONDS).ok
    except (requests.exceptions.RequestException, ValueError):
        return False


def _token_header(url: str) -> dict[str, str]:
    """Header with the token, where the cluster wants one: it is shown to no other server."""
    try:
        answer = requests.get(f"{url}/api/authentication_mode", timeout=_FIRST_SECONDS)
    except (requests.exceptions.RequestException, ValueError) as error:
        raise ClusterError(f"no Ray cluster answers at {url}: {request_reason(error)}", CHECK_ADDRESS) from None
    try:
        wanted = answer.json()["authentication_mode"] != "disabled"
    except (ValueError, KeyError, TypeError):
        wanted = False  # of a Ray before tokens, or of something else, as the next question will show
    if not wanted:
        return {}
    token = read_token()
    if token is None:
        raise refused(url)
    return {"Authorization": f"Bearer {token}"}


@contextmanager
def _address_variables(address: str | None) -> Iterator[None]:
    """Let an address that is given go before the variables, which Ray's client would prefer."""
    before = {name: os.environ.pop(name, None) for name in ADDRESS_VARIABLES}
    try:
        if address is not None:
            os.environ[ADDRESS_VARIABLES[0]] = address
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def request_reason(error: Exception) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"it answers {error.response.status_code} {error.response.reason}"
    text = str(error)
    for told in ("Connection refused", "Name or service not known", "Network is unreachable", "No route to host"):
        if told in text:
            return told.lower()
    return next(iter(text.splitlines()), type(error).__name__)[:200]
