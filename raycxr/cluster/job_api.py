"""The job API of a Ray cluster: what is asked of it, and its refusals in one line each."""

from __future__ import annotations

from typing import Any

import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from raycxr.cluster.connection import ClusterError
from raycxr.cluster.job_access import CHECK_ADDRESS, LostContactError, UnknownJobError, request_reason
from raycxr.cluster.ray_token import refused

# Ctrl-C is answered no later, also where the head is silent.
REQUEST_SECONDS = 10
# To hand in a job, which takes its package along.
SUBMIT_SECONDS = 60


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

    def check_same_version(self) -> None:
        """Raise where the cluster runs another Ray than this process: what one pickles the other may not read."""
        if self.ray_version != ray.__version__:
            raise ClusterError(
                f"the cluster at {self.get_address()} runs Ray {self.ray_version}, here is {ray.__version__}",
                f"pip install 'ray[default]=={self.ray_version}' here, or give the cluster an image with "
                f"{ray.__version__}",
            )

    def _do_request(self, method: str, endpoint: str, *, data: Any = None, json_data: Any = None) -> Any:
        # Ray's own client would wait for an answer for ever.
        try:
            seconds = REQUEST_SECONDS if method == "GET" else SUBMIT_SECONDS
            return super()._do_request(method, endpoint, data=data, json_data=json_data, timeout=seconds)
        except AuthenticationError:
            raise refused(self._address) from None
        except requests.exceptions.RequestException as error:
            reason = request_reason(error)
            raise LostContactError(f"no Ray cluster answers at {self._address}: {reason}", CHECK_ADDRESS) from None

    def _raise_error(self, response: Any) -> None:
        lines = [line for line in response.text.strip().splitlines() if line.strip()] or [response.reason]
        if response.status_code == 404 and "does not exist" in response.text:
            raise UnknownJobError(
                f"the Ray cluster at {self._address} knows no job {response.url.split('/api/jobs/')[-1].split('/')[0]}",
                "list those that it knows: raycxr jobs list",
            )
        # Proxies say so while the head is away, and the dashboard while its own processes start.
        # A dashboard whose GCS is away fails at every question.
        passes = response.status_code in (404, 502, 503, 504) or (
            response.status_code >= 500 and response.request.method == "GET"
        )
        kind = LostContactError if passes else ClusterError
        raise kind(f"the Ray cluster at {self._address} refused: {lines[-1]}", "see the head's dashboard.log")
