"""A RayJob followed to its end: the resource, and the log of the pod that hands the job in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import urllib3

from raycxr.cluster.job_log import RECONNECT_SECONDS
from raycxr.cluster.kubernetes_api import AbsentError, ForbiddenError, Kubernetes, KubernetesError, UnreachableError
from raycxr.cluster.log_output import LogOutput
from raycxr.cluster.ray_job import PLURAL, SUBMITTER, rayjob_status
from raycxr.cluster.submission import SUCCEEDED, JobError

_POLL_SECONDS = 1.0
_ENDED = ("Complete", "Failed", "ValidationFailed")


class RayJobLog:
    """Follows one RayJob.

    Parameters
    ----------
    write : callable
        Takes each new piece of the log; no piece comes twice.
    say : callable
        Takes a line about the job or the way to it.
    patience : float
        Seconds without an answer before it is given up.

    Attributes
    ----------
    output : LogOutput
        What has been passed on, and its last lines.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        name: str,
        write: Callable[[str], None],
        say: Callable[[str], None],
        patience: float = RECONNECT_SECONDS,
    ) -> None:
        self.kubernetes, self.name = kubernetes, name
        self.output, self.say, self.patience = LogOutput(write), say, patience
        self._seen: dict[str, int] = {}
        self._told = ""
        self._readable = True
        self._lost_at: float | None = None
        self._silent_since: float | None = None

    def follow(self) -> dict[str, Any]:
        """Return the RayJob when it has ended.

        Raises
        ------
        KubernetesError
            It was deleted, the API server stays away, or the resource goes on although its job has ended.
        """
        while True:
            try:
                rayjob = self.kubernetes.get(PLURAL, self.name)
                self._lost_at = None
                self._tell(rayjob)
                if (rayjob.get("status") or {}).get("jobDeploymentStatus") in _ENDED:
                    self._read_rest()
                    return rayjob
                self._check_silence(rayjob, self._read())
            except AbsentError:
                raise KubernetesError(f"the RayJob {self.name} was deleted", "submit it again") from None
            except (UnreachableError, urllib3.exceptions.HTTPError) as error:
                self._lose(error)
            time.sleep(_POLL_SECONDS)

    def error(self, rayjob: Mapping[str, Any]) -> JobError | None:
        """Tell how a RayJob ended that did not succeed."""
        state = rayjob_status(rayjob)
        if state == SUCCEEDED:
            return None
        status = rayjob.get("status") or {}
        reason = " ".join(str(status.get("message") or status.get("reason") or "no reason was given").split())
        verb = "was stopped" if state == "STOPPED" else "failed"
        return JobError(
            f"the RayJob {self.name} {verb}: {reason[:500]}",
            f"see: kubectl -n {self.kubernetes.namespace} describe rayjob {self.name}",
        )

    def _tell(self, rayjob: Mapping[str, Any]) -> None:
        """Say each change of state; KubeRay words it in two places, the resource's and the job's."""
        status = rayjob.get("status") or {}
        state = status.get("jobDeploymentStatus") or "not seen by KubeRay yet"
        job = f", the job {status['jobStatus']}" if status.get("jobStatus") else ""
        cluster = f", cluster {status['rayClusterName']}" if status.get("rayClusterName") else ""
        text = f"RayJob {self.name}: {state}{job}{cluster}"
        if text != self._told:
            self.say(text)
            self._told = text

    def _read_rest(self) -> None:
        """Show what has not been seen of the log of a job that has ended; its node may be gone."""
        try:
            self._read()
        except (KubernetesError, urllib3.exceptions.HTTPError):
            self.say(f"the rest of the log of {self.name} cannot be read any more")

    def _read(self) -> bool:
        """Show what is new in the submitting pod's log, as long as it goes on; whether it has ended."""
        if not self._readable:
            return False
        try:
            pods = self.kubernetes.pods({"batch.kubernetes.io/job-name": self.name})
            pods = sorted(pods, key=lambda pod: pod.metadata.creation_timestamp.timestamp())
            if not pods or pods[-1].status.phase in (None, "Pending"):
                return False
            self._stream(pods[-1].metadata.name)
        except ForbiddenError as error:
            self._readable = False
            self.say(f"the log is not shown: {error.message}")
            return False
        except AbsentError:
            return False
        except UnreachableError:
            raise
        except KubernetesError:
            pass  # the container has not started yet, or is gone
        return pods[-1].status.phase in ("Succeeded", "Failed")

    def _stream(self, pod: str) -> None:
        response = self.kubernetes.pod_log(pod, SUBMITTER)
        position = 0
        try:
            for piece in response.stream():
                # Every request begins at the beginning of the log.
                fresh = piece[max(0, self._seen.get(pod, 0) - position) :]
                position += len(piece)
                if fresh:
                    self._seen[pod] = position
                    self.output.take(fresh.decode("utf-8", errors="replace"))
        except urllib3.exceptions.ReadTimeoutError:
            pass  # a log that is silent; the resource is asked in between
        finally:
            response.release_conn()

    def _check_silence(self, rayjob: Mapping[str, Any], finished: bool) -> None:
        """Give up a resource that goes on although the pod that watches the job has ended."""
        if not finished:
            self._silent_since = None
            return
        self._silent_since = self._silent_since or time.monotonic()
        if time.monotonic() - self._silent_since > self.patience:
            raise KubernetesError(
                f"the RayJob {self.name} is still {rayjob_status(rayjob)}, but the pod that watches it ended "
                f"{self.patience:.0f} s ago; its head may have been restarted",
                f"see: kubectl -n {self.kubernetes.namespace} describe rayjob {self.name}; its deadline ends it",
            )

    def _lose(self, error: Exception) -> None:
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self.say(f"lost contact with {self.kubernetes.host}, trying for {self.patience:.0f} s to come back")
        elif now - self._lost_at > self.patience:
            raise KubernetesError(
                f"no answer from {self.kubernetes.host} for {self.patience:.0f} s; {self.name} may still run",
                f"see: kubectl -n {self.kubernetes.namespace} get rayjob {self.name}",
            ) from error
