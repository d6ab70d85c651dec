"""The log of a job, followed to the job's end, also when its cluster is away for some minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp

from raycxr.cluster.connection import ClusterError
from raycxr.cluster.job_access import LostContactError, UnknownJobError
from raycxr.cluster.log_output import LogOutput

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from raycxr.cluster.job_api import JobApi

# As long as a head pod needs to be scheduled, pull its image and start.
RECONNECT_SECONDS = 300.0
# How often a job is asked for while its log is silent: a connection to a node that is gone is silent for ever.
_STATUS_SECONDS = 3.0
_PAUSE_SECONDS = 2.0
_BETWEEN_SECONDS = 0.5
# `RuntimeError` is how Ray's client tells that the connection broke.
_LOST = (LostContactError, aiohttp.ClientError, OSError, RuntimeError, TimeoutError)


class JobLog:
    """Follows the log of one job.

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
        api: JobApi,
        submission_id: str,
        write: Callable[[str], None],
        say: Callable[[str], None],
        patience: float = RECONNECT_SECONDS,
    ) -> None:
        self.api, self.submission_id = api, submission_id
        self.output, self.say, self.patience = LogOutput(write), say, patience
        self._seen = 0
        self._told = ""

    def follow(self) -> JobDetails:
        """Return the job when it has ended and its log is read.

        Raises
        ------
        UnknownJobError
            The cluster does not know the job.
        ClusterError
            The cluster stays away, or was restarted and has forgotten the job.
        """
        return asyncio.run(self._follow())

    async def _follow(self) -> JobDetails:
        lost_at: float | None = None
        met = False
        while True:
            try:
                job = await self._job()
                if lost_at is not None:
                    self.say(f"in contact with {self.api.get_address()} again")
                met, lost_at = True, None
                if job.status.is_terminal():
                    await self._read_rest()
                    return job
                self._tell_waiting(job)
                await self._tail()
                # The agent beside a job may end a connection as often as it is made.
                await asyncio.sleep(_BETWEEN_SECONDS)
            except UnknownJobError as error:
                raise self._forgotten() if met else error from None
            except _LOST as error:
                now = time.monotonic()
                if lost_at is None:
                    lost_at = now
                    self.say(
                        f"lost contact with {self.api.get_address()}, trying for {self.patience:.0f} s to come back"
                    )
                elif now - lost_at > self.patience:
                    raise self._gone() from error
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _tail(self) -> None:
        """Read the log over one connection until the job or the connection ends; raise where contact is lost."""
        stream = self.api.tail_job_logs(self.submission_id)
        position = 0
        piece: asyncio.Task[Any] = asyncio.ensure_future(anext(stream, None))
        try:
            while True:
                done, _ = await asyncio.wait({piece}, timeout=_STATUS_SECONDS)
                if not done:
                    job = await self._job()
                    self._tell_waiting(job)
                    if job.status.is_terminal():
                        return
                    continue
                text = piece.result()
                if text is None:
                    return
                # Every connection begins at the beginning of the log.
                self.output.take(text[max(0, self._seen - position) :])
                position += len(text)
                self._seen = max(self._seen, position)
                piece = asyncio.ensure_future(anext(stream, None))
        finally:
            piece.cancel()
            await asyncio.gather(piece, return_exceptions=True)
            await stream.aclose()

    async def _read_rest(self) -> None:
        """Read what has not been seen of the log of a job that has ended."""
        try:
            log = await asyncio.to_thread(self.api.get_job_logs, self.submission_id)
        except ClusterError as error:
            # A restarted head may know the job, but the log lay with the pod that is gone, or is asked for in vain.
            if isinstance(error, LostContactError):
                await self._job()
            self.say(f"the rest of the log of {self.submission_id} cannot be read any more")
            return
        self.output.take(log[self._seen :])
        self._seen = len(log)

    async def _job(self) -> JobDetails:
        return await asyncio.to_thread(self.api.get_job_info, self.submission_id)

    def _tell_waiting(self, job: JobDetails) -> None:
        """Say why a job has not begun."""
        if str(job.status) == "PENDING" and job.message and job.message != self._told:
            self._told = job.message
            self.say(f"{self.submission_id} is pending: {' '.join(job.message.split())}")

    def _forgotten(self) -> ClusterError:
        return ClusterError(
            f"the head at {self.api.get_address()} was restarted and has forgotten the job {self.submission_id}",
            "submit it again, training with --resume RUN; with k8s/components/gcs-fault-tolerance the head remembers",
        )

    def _gone(self) -> ClusterError:
        return ClusterError(
            f"no answer from {self.api.get_address()} for {self.patience:.0f} s; {self.submission_id} may still run",
            f"look again with: raycxr jobs logs {self.submission_id} --follow",
        )
