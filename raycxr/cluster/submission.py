"""A job submitted to a Ray cluster: once for each name."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raycxr.cluster.command import Command, shipped_folder, told_command
from raycxr.cluster.connection import ClusterError
from raycxr.cluster.job_access import LostContactError
from raycxr.errors import InterruptionError, RaycxrError, UsageError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from raycxr.cluster.job_api import JobApi

SUCCEEDED = "SUCCEEDED"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class JobError(RaycxrError):
    """A job ended otherwise than with success."""

    kind = "job"


def job_name(name: str | None, command: Command, config: Path | None) -> str:
    """Return the checked name of a job, or a new one after its verb and its configuration."""
    if name is None:
        words = [command.arguments[0], *([config.stem] if config is not None else [])]
        # Such that Kubernetes would take it as well.
        readable = re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")[:36].rstrip("-")
        return f"{readable}-{secrets.token_hex(4)}"
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r} is no name of a job", "write letters, digits, and - _ . between them")
    return name


def submit(
    api: JobApi,
    command: Command,
    name: str,
    environment: Mapping[str, str],
    cpus: float,
    gpus: float,
    ship: bool,
    say: Callable[[str], None],
) -> JobDetails:
    """Start a job, or find the one of this name.

    Parameters
    ----------
    cpus, gpus : float
        What the driver itself occupies; with 0 of both it runs on the head.
    ship : bool
        Send the package that runs here along.

    Raises
    ------
    ClusterError
        A job of this name runs another command, or the cluster runs another Ray than this process.
    """
    existing = api.find(name)
    if existing is None:
        api.check_same_version()
        existing = _start(api, command, name, environment, cpus, gpus, ship)
    if existing is None:
        say(f"submitted {name}: raycxr {command}")
        return api.get_job_info(name)
    known = (existing.runtime_env or {}).get("env_vars") or {}
    for same, what in (
        (existing.entrypoint == command.entrypoint(ship), "command"),
        (command.environment(ship).items() <= known.items(), "configuration"),
    ):
        if not same:
            told = told_command(existing.entrypoint)
            raise ClusterError(f"{name} is there already with another {what}: {told}", "choose another --name")
    ended = existing.status.is_terminal()
    state = f"has ended already: {existing.status}" if ended else f"is {str(existing.status).lower()} already"
    say(f"{name} {state}; it is not started twice")
    return existing


def _start(
    api: JobApi, command: Command, name: str, environment: Mapping[str, str], cpus: float, gpus: float, ship: bool
) -> JobDetails | None:
    """Start a job; where another submission of the same name came first, return that one."""
    with shipped_folder(command) if ship else nullcontext() as folder:
        variables = {**environment, **command.environment(ship)}
        runtime: dict[str, Any] = {"env_vars": variables} if variables else {}
        if folder is not None:
            runtime["working_dir"] = str(folder)
        try:
            api.submit_job(
                entrypoint=command.entrypoint(ship),
                submission_id=name,
                runtime_env=runtime,
                # Ray's own default for none is the head, which is where a driver without resources belongs.
                entrypoint_num_cpus=cpus or None,
                entrypoint_num_gpus=gpus or None,
            )
        except LostContactError as error:
            raise ClusterError(
                f"{error.message}; the job may have been submitted",
                f"run it again with --name {name}: it will not be started twice",
            ) from None
        except KeyboardInterrupt:
            raise InterruptionError(
                f"interrupted while {name} was submitted", f"run it again with --name {name}: it is not started twice"
            ) from None
        except ClusterError:
            existing = api.find(name)
            if existing is None:
                raise
            return existing
    return None


def job_document(api: JobApi, job: JobDetails) -> dict[str, Any]:
    """Return what `--json` answers of a job; times are seconds since 1970."""
    return {
        "submission_id": job.submission_id,
        "status": str(job.status),
        "address": api.get_address(),
        "command": told_command(job.entrypoint),
        "message": job.message,
        "started": None if job.start_time is None else job.start_time / 1000,
        "ended": None if not job.end_time else job.end_time / 1000,
    }


def job_error(job: JobDetails) -> JobError:
    """Tell how a job ended that did not succeed; its log is told elsewhere."""
    name = job.submission_id
    if str(job.status) == "STOPPED":
        return JobError(f"the job {name} was stopped", f"its log: raycxr jobs logs {name}")
    code = "" if job.driver_exit_code is None else f" with exit code {job.driver_exit_code}"
    # Ray's message goes on with the last lines of the log.
    reason = "" if code else ": " + next(iter((job.message or "no reason was given").splitlines()))
    return JobError(f"the job {name} failed{code}{reason}", f"its whole log: raycxr jobs logs {name}")
