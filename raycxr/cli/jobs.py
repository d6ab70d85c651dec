"""`raycxr jobs`: what runs and ran on a cluster."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raycxr.cli.answer import answer, answer_error, show, tell
from raycxr.cli.options import Address, Debug, Json
from raycxr.text_table import aligned

if TYPE_CHECKING:
    from raycxr.cluster.job_api import JobApi

# Longer than k8s/base lets a job end by itself before Ray kills it (RAY_JOB_STOP_WAIT_TIME_S).
_STOP_SECONDS = 60.0


def _job_id(value: str) -> str:
    """Refuse what can be no name of a job, and would be another place of the job API."""
    if not value or not value.isprintable() or any(character in " /?#%" for character in value):
        raise typer.BadParameter(f"{value!r} is no name of a job, see: raycxr jobs list")
    return value


JobId = Annotated[str, typer.Argument(metavar="ID", help="Name of the job.", show_default=False, callback=_job_id)]

app = typer.Typer(help="Look at the jobs of a cluster, follow and stop them.", no_args_is_help=True)


@app.command()
def status(job: JobId, address: Address = None, json: Json = False, debug: Debug = False) -> None:
    """Tell how a job is."""
    from raycxr.cluster.job_access import connect_job_api
    from raycxr.cluster.submission import job_document

    api = connect_job_api(address)
    document = job_document(api, api.get_job_info(job))
    told = next(iter((document["message"] or "").splitlines()), "").partition(", last available logs")[0]
    answer(document, f"{job}: {document['status']}\n  {told}\n  {document['command']}", json)


@app.command()
def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Go on to the job's end; the status is the job's.")] = False,
    address: Address = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a job has written."""
    from raycxr.cluster.job_access import connect_job_api
    from raycxr.cluster.submission import job_document

    api = connect_job_api(address)
    if follow:
        follow_to_end(api, job, json)
        return
    details = api.get_job_info(job)
    log = api.get_job_logs(job)
    answer(job_document(api, details) | {"log": log}, log.rstrip("\n"), json)


@app.command()
def stop(job: JobId, address: Address = None, json: Json = False, debug: Debug = False) -> None:
    """End a job that runs: it gets SIGTERM, so that a run is left ready to be resumed."""
    from raycxr.cluster.connection import ClusterError
    from raycxr.cluster.job_access import connect_job_api
    from raycxr.cluster.submission import job_document

    api = connect_job_api(address)
    details = api.get_job_info(job)
    if details.status.is_terminal():
        answer(job_document(api, details), f"{job} has ended already: {details.status}", json)
        return
    api.stop_job(job)
    deadline = time.monotonic() + _STOP_SECONDS
    while not (details := api.get_job_info(job)).status.is_terminal():
        if time.monotonic() > deadline:
            raise ClusterError(f"{job} is still {details.status}", f"look again with: raycxr jobs status {job}")
        time.sleep(0.5)
    answer(job_document(api, details), f"{job}: {details.status}", json)


@app.command("list")
def list_jobs(address: Address = None, json: Json = False, debug: Debug = False) -> None:
    """List the jobs that were submitted, the last ones first."""
    from raycxr.cluster.job_access import connect_job_api
    from raycxr.cluster.submission import job_document

    api = connect_job_api(address)
    jobs = [job for job in api.list_jobs() if job.submission_id is not None]
    jobs.sort(key=lambda job: job.start_time or 0, reverse=True)
    documents = [job_document(api, job) for job in jobs]
    answer(documents, _table(documents) if documents else f"no jobs at {api.get_address()}", json)


def follow_to_end(api: JobApi, job: str, json: bool) -> None:
    """Show a job's log until it ends, then answer; the exit status is 0 only where it succeeded."""
    from raycxr.cluster.job_log import JobLog
    from raycxr.cluster.submission import SUCCEEDED, job_document, job_error
    from raycxr.errors import InterruptionError

    log = JobLog(api, job, show, tell)
    try:
        ended = log.follow()
    except KeyboardInterrupt:
        raise InterruptionError(
            f"detached from {job}, which goes on",
            f"come back with: raycxr jobs logs {job} --follow --address {api.get_address()}",
        ) from None
    document = job_document(api, ended)
    if document["status"] != SUCCEEDED:
        answer_error(job_error(ended), json, document | {"last_lines": log.output.last_lines})
        raise typer.Exit(1)
    answer(document, f"{job}: {document['status']}", json)


def _table(documents: list[dict[str, Any]]) -> str:
    rows = [("job", "status", "started", "command")]
    for document in documents:
        started = document["started"]
        when = "-" if started is None else f"{datetime.fromtimestamp(started):%Y-%m-%d %H:%M:%S}"
        rows.append((document["submission_id"], document["status"], when, document["command"][:80]))
    return "\n".join(aligned(rows))
