"""`raycxr predict`: masks of films that nobody has drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Also, Debug, Json, Network, RayAddress, TestTime, parse_views

if TYPE_CHECKING:
    from raycxr.prediction.batch_job import JobSummary, Runner

SHOWN_FAILURES = 10


def predict(
    run: Network,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Films, folders or prefixes of films, data sets; local or s3://.",
            show_default=False,
        ),
    ],
    out: Annotated[str, typer.Option(metavar="URI", help="Folder or s3:// prefix.", show_default=False)],
    formats: Annotated[
        list[str],
        typer.Option(
            "--format", metavar="NAME", help="png, overlay, rle, dicom-seg, probability; repeated or with commas."
        ),
    ] = ["png", "overlay"],  # noqa: B006 - typer copies it
    also: Also = None,
    test_time: TestTime = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Films that go through a network at once.")] = 8,
    address: RayAddress = None,
    local: Annotated[bool, typer.Option("--local", help="Predict in this process, without Ray.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Segment films, on Ray Data; what is there from an earlier call is kept."""
    from raycxr.prediction.inputs import kinds, list_inputs
    from raycxr.prediction.job_settings import make_settings
    from raycxr.prediction.outputs import parse_formats
    from raycxr.storage.patience import first_contact

    chosen = parse_formats(formats)
    views = parse_views(test_time)
    with first_contact():
        settings, classes = make_settings([run, *(also or [])], views, chosen, out, batch_size)
        films = list_inputs(inputs)
    tell(f"{kinds(films)} for {', '.join(settings.networks)}: {', '.join(classes)}")

    def work(runner: Runner) -> JobSummary:
        from raycxr.cli.film_progress import FilmProgress
        from raycxr.errors import InterruptionError
        from raycxr.number_text import count
        from raycxr.prediction.batch_job import predict_all

        with FilmProgress("predict") as progress:
            try:
                return predict_all(films, settings, classes, runner, progress)
            except KeyboardInterrupt:
                done = f"{progress.done} of {count(len(films), 'film')} are done"
                raise InterruptionError(f"interrupted: {done}", "run the same command again to go on") from None

    if local:
        from raycxr.prediction.part_predictor import run_here

        summary = work(run_here)
    else:
        from raycxr.cluster.connection import connected

        with connected(address):
            from raycxr.prediction.ray_predict import run_on_ray

            summary = work(run_on_ray)
    _tell_failures(summary)
    document = {
        "out": summary.out,
        "images": summary.images,
        "failed": len(summary.failed),
        "skipped": summary.skipped,
        "failures": [{name: row[name] for name in ("name", "original", "reason")} for row in summary.failed],
    }
    there = f" ({summary.skipped} there already)" if summary.skipped else ""
    failed = f", {len(summary.failed)} failed, see films.csv" if summary.failed else ""
    answer(document, f"{summary.out}: {summary.images} predicted{there}{failed}", json)


def _tell_failures(summary: JobSummary) -> None:
    for row in summary.failed[:SHOWN_FAILURES]:
        tell(f"failed: {row['original']}: {row['reason']}")
    if len(summary.failed) > SHOWN_FAILURES:
        tell(f"... and {len(summary.failed) - SHOWN_FAILURES} more")
