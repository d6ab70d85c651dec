"""`raycxr submit`: any other verb as a job, on a Ray cluster or as a RayJob in Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raycxr.cli.answer import answer, answer_error, show, tell
from raycxr.cli.options import Address, Context, Debug, Json, Namespace, not_empty

if TYPE_CHECKING:
    from raycxr.cluster.command import Command

# They are about clusters, not for them.
_HERE = ("submit", "jobs", "scale")
# Parameters of verbs that say where results go.
_PLACES = {"out": "--out", "html": "--html", "picture": "--picture", "destination": "DEST"}


def submit(
    context: typer.Context,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="VERB",
            help="What the job runs: train CONFIG key=value.",
            show_default=False,
        ),
    ],
    address: Address = None,
    rayjob: Annotated[
        bool, typer.Option("--rayjob", help="Create a RayJob in Kubernetes rather than ask a cluster's job API.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the job; submitted again, it is followed and not started twice.",
            show_default="a new one",
            callback=not_empty,
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY[=VALUE]",
            help="Variable for the job and its workers, such as AWS_ENDPOINT_URL; no secrets; may be given several "
            "times.",
            show_default=False,
        ),
    ] = None,
    ship: Annotated[
        bool, typer.Option("--ship", help="Run the package of this machine, not that of the image.")
    ] = False,
    cpus: Annotated[float, typer.Option(min=0, max=10_000, help="CPUs that the job's driver occupies.")] = 0,
    gpus: Annotated[float, typer.Option(min=0, max=10_000, help="GPUs that the job's driver occupies.")] = 0,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Show the log, end with the job.")] = True,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --rayjob: the RayCluster to run on.",
            show_default="one for this job",
            callback=not_empty,
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="With --rayjob: the RayCluster, there or in a manifest, after which the job's own one is made.",
            show_default="the namespace's only one",
            callback=not_empty,
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(metavar="HOURS", help="With --rayjob: when it is ended by force.", show_default="72"),
    ] = None,
    namespace: Namespace = None,
    kube_context: Context = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a verb as a job on a cluster, and follow its log; the exit status is the job's."""
    from raycxr.cluster.secret import parse_environment, refuse_secrets

    of_rayjob = {"--cluster": cluster, "--like": like, "--deadline": deadline, "--namespace": namespace}
    _refuse_together(rayjob, {**of_rayjob, "--context": kube_context}, {"--address": address, "--ship": ship or None})
    command, config = _checked(context, arguments)
    environment = parse_environment(env or ())
    refuse_secrets([("--name", name or "")])
    if rayjob:
        hours = 72.0 if deadline is None else deadline
        _submit_rayjob(
            command, config, name, environment, (cpus, gpus), cluster, like, hours, namespace, kube_context, follow,
            json,
        )  # fmt: skip
        return
    from raycxr.cluster.job_access import connect_job_api
    from raycxr.cluster.submission import job_document, job_name
    from raycxr.cluster.submission import submit as submit_job

    job = job_name(name, command, config)
    api = connect_job_api(address)
    details = submit_job(api, command, job, environment, cpus, gpus, ship, tell)
    if follow:
        from raycxr.cli.jobs import follow_to_end

        follow_to_end(api, job, json)
        return
    come_back = f"raycxr jobs logs {job} --follow --address {api.get_address()}"
    answer(job_document(api, details), f"{job}: {details.status}\n  {come_back}", json)


def _refuse_together(rayjob: bool, of_rayjob: dict[str, object], of_api: dict[str, object]) -> None:
    """Refuse options of the other way to submit, rather than ignore them."""
    from raycxr.errors import UsageError

    for name, value in (of_api if rayjob else of_rayjob).items():
        if value is not None:
            if rayjob:
                raise UsageError(f"{name} does not go with --rayjob", f"leave {name} out; the image brings the code")
            raise UsageError(f"{name} is for RayJobs", f"add --rayjob, or leave {name} out")


def _checked(context: typer.Context, arguments: list[str]) -> tuple[Command, Path | None]:
    """Check the verb's own arguments here, where a mistake costs nothing."""
    from raycxr.cluster.command import check_place, make_command
    from raycxr.errors import UsageError

    verb, *others = arguments
    program: Any = context.find_root().command
    verbs = [known for known in program.commands if known not in _HERE]
    if verb not in verbs:
        raise UsageError(f"{verb!r} is no verb that a job can run", f"choose one of {', '.join(verbs)}")
    parameters = program.commands[verb].make_context(verb, others, parent=context.find_root()).params
    for name, told in _PLACES.items():
        if parameters.get(name) is not None:
            check_place(f"{told} {parameters[name]}", str(parameters[name]))
    path, overrides = parameters.get("path"), parameters.get("overrides")
    config = path if isinstance(path, Path) else None
    return make_command(arguments, config, overrides or ()), config


def _submit_rayjob(
    command: Command,
    config: Path | None,
    name: str | None,
    environment: dict[str, str],
    occupied: tuple[float, float],
    cluster: str | None,
    like: str | None,
    deadline: float,
    namespace: str | None,
    kube_context: str | None,
    follow: bool,
    json: bool,
) -> None:
    from raycxr.cluster.kubeconfig import connect_kubernetes
    from raycxr.cluster.ray_job import create_rayjob, find_rayjob, make_rayjob, rayjob_document, rayjob_name
    from raycxr.cluster.ray_job_log import RayJobLog

    job = rayjob_name(name, command, config)
    kubernetes = connect_kubernetes(kube_context, namespace)
    # Before anything is asked about its cluster, which may be another one by now.
    created = None if name is None else find_rayjob(kubernetes, job, command, tell)
    if created is None:
        manifest = make_rayjob(kubernetes, job, command, environment, occupied, cluster, like, deadline)
        created = create_rayjob(kubernetes, manifest, command, tell)
    where = f"--name {job} --namespace {kubernetes.namespace}"
    come_back = (
        f"the same command with {where} follows it; kubectl -n {kubernetes.namespace} delete rayjob {job} ends it"
    )
    if not follow:
        answer(rayjob_document(kubernetes, created), f"{job}: created\n  {come_back}", json)
        return
    from raycxr.errors import InterruptionError

    log = RayJobLog(kubernetes, job, show, tell)
    try:
        ended = log.follow()
    except KeyboardInterrupt:
        raise InterruptionError(f"detached from the RayJob {job}, which goes on", come_back) from None
    document = rayjob_document(kubernetes, ended)
    error = log.error(ended)
    if error is not None:
        answer_error(error, json, document | {"last_lines": log.output.last_lines})
        raise typer.Exit(1)
    answer(document, f"{job}: {document['status']}", json)
