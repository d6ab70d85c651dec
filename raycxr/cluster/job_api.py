"""The job API of a Ray cluster: where it answers, who may ask, and what it says when it does not do it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import requests
from ray.exceptions import AuthenticationError, RpcError
from ray.job_submission import JobDetails, JobSubmissionClient

from raycxr.cluster.connection import ClusterError, check_reachable

REQUEST_SECONDS = 30
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_CHECK_ADDRESS = "check --address (such as http://localhost:8265 behind kubectl port-forward) and $RAY_ADDRESS"


class LostContactError(ClusterError):
    """The head does not answer: it may be restarting, or the way to it is cut."""


class UnknownJobError(ClusterError):
    """The cluster knows no job of this id."""


class JobApi(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, whose requests end in time and whose failures are told in one line."""

    @property
    def ray_version(self) -> str:
        """Version of Ray on the cluster."""
        return str(self._server_ray_version)

    def find(self, submission_id: str) -> JobDetails | None:
        """Return a job, or None where the cluster does not know it."""
        try:
            return self.get_job_info(submission_id)
        except UnknownJobError:
            return None

    def _do_request(self, method: str, endpoint: str, *, data: Any = None, json_data: Any = None) -> Any:
        # Ray's own client would wait for an answer for ever.
        try:
            return super()._do_request(method, endpoint, data=data, json_data=json_data, timeout=REQUEST_SECONDS)
        except AuthenticationError as error:
            raise _refused(self._address, str(error)) from None
        except requests.exceptions.RequestException as error:
            raise LostContactError(
                f"no Ray cluster answers at {self._address}: {_reason(error)}", _CHECK_ADDRESS
            ) from (None)

    def _raise_error(self, response: Any) -> None:
        lines = [line for line in response.text.strip().splitlines() if line.strip()] or [response.reason]
        if response.status_code == 404 and "does not exist" in response.text:
            raise UnknownJobError(
                f"the Ray cluster at {self._address} knows no job {response.url.split('/api/jobs/')[-1].split('/')[0]}",
                "list those that it knows: raycxr jobs list",
            )
        # Proxies say so while the head is away, and the dashboard while its own processes start.
        kind = LostContactError if response.status_code in (404, 502, 503, 504) else ClusterError
        raise kind(f"the Ray cluster at {self._address} refused: {lines[-1]}", "see the head's dashboard.log")


def connect_job_api(address: str | None) -> JobApi:
    """Find the job API of a cluster, with the token that it wants.

    Parameters
    ----------
    address : str or None
        `http://host:8265`, an address of Ray (`host:6379`, `ray://host:10001`, `auto`), or None for
        ``$RAY_API_SERVER_ADDRESS``, ``$RAY_ADDRESS``, else the cluster on this machine.

    Raises
    ------
    ClusterError
        Nobody answers, no Ray cluster does, or it wants a token that is not here.
    """
    address = address or next((os.environ[name] for name in ADDRESS_VARIABLES if os.environ.get(name)), None)
    if address is not None and address.startswith(("http://", "https://")):
        _choose_authentication(address.rstrip("/"))
    else:
        if address is not None:
            check_reachable(address, _CHECK_ADDRESS)
        os.environ.setdefault("RAY_AUTH_MODE", "token" if token_origin() else "disabled")
    try:
        with _address_variables(address):
            return JobApi(address)
    except (ConnectionError, RpcError, RuntimeError) as error:
        first = next(iter(str(error).splitlines()), "")
        told = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        raise ClusterError(f"cannot find {told}: {first}", _CHECK_ADDRESS) from None
    except AuthenticationError as error:
        raise _refused(address or "this machine", str(error)) from None
    except (requests.exceptions.RequestException, ValueError, KeyError) as error:
        reason = _reason(error) if isinstance(error, requests.exceptions.HTTPError) else "no Ray version in its answer"
        raise ClusterError(f"what answers at {address} is no Ray cluster: {reason}", _CHECK_ADDRESS) from None


def check_same_version(api: JobApi) -> None:
    """Raise where the cluster runs another Ray than this process: what it unpickles and calls may differ."""
    if api.ray_version != ray.__version__:
        raise ClusterError(
            f"the cluster at {api.get_address()} runs Ray {api.ray_version}, here is {ray.__version__}",
            f"pip install 'ray[default]=={api.ray_version}' here, or give the cluster an image with {ray.__version__}",
        )


def token_origin() -> str | None:
    """Where Ray finds its token: a variable or a file; None where there is none."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "$RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named:
        return named if Path(named).is_file() else None
    default = Path("~/.ray/auth_token").expanduser()
    return str(default) if default.is_file() else None


def _choose_authentication(url: str) -> None:
    """Ask a cluster whether it wants a token; Ray's own client ends the process where it should send one it lacks."""
    try:
        answer = requests.get(f"{url}/api/authentication_mode", timeout=REQUEST_SECONDS)
    except (requests.exceptions.RequestException, ValueError) as error:
        raise LostContactError(f"no Ray cluster answers at {url}: {_reason(error)}", _CHECK_ADDRESS) from None
    try:
        wanted = answer.json()["authentication_mode"] != "disabled"
    except (ValueError, KeyError, TypeError):
        wanted = False  # of a Ray before tokens, or of something else, as the next question will show
    if not wanted and token_origin() is None:
        os.environ["RAY_AUTH_MODE"] = "disabled"
    elif wanted and token_origin() is None:
        raise _refused(url, "")
    elif wanted:
        os.environ["RAY_AUTH_MODE"] = "token"


def _refused(address: str, reason: str) -> ClusterError:
    origin = token_origin()
    remedy = (
        "export RAY_AUTH_TOKEN with the cluster's token (kubectl get secret CLUSTER -o jsonpath={.data.auth_token})"
    )
    if origin is None:
        return ClusterError(f"the Ray cluster at {address} wants a token, and there is none here", remedy)
    if "required" in reason:
        remedy = "set RAY_AUTH_MODE=token, so that it is sent"
    return ClusterError(f"the Ray cluster at {address} does not accept the token of {origin}", remedy)


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


def _reason(error: Exception) -> str:
    """Why a request failed, in a few words."""
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {REQUEST_SECONDS} s"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"it answers {error.response.status_code} {error.response.reason}"
    text = str(error)
    for told in ("Connection refused", "Name or service not known", "Network is unreachable", "No route to host"):
        if told in text:
            return told.lower()
    return next(iter(text.splitlines()), type(error).__name__)[:200]
