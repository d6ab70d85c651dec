"""`raycxr evaluate`: per-film tables, summaries and pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Debug, Json


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN_OR_BUNDLE", help="A run, or a bundle.", show_default=False)],
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATASET]...", help="Data sets; where none is given, the run's own.", show_default=False
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    out: Annotated[str | None, typer.Option(help="Folder or s3:// prefix for tables and pictures.")] = None,
    resolution: Annotated[
        str | None, typer.Option(help="original or dataset; where not given, the run's.", show_default=False)
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on data sets, film by film."""
    from raycxr.cli.film_progress import FilmProgress
    from raycxr.evaluation.evaluate import evaluate_bundle
    from raycxr.evaluation.files import write_evaluation
    from raycxr.evaluation.summary import summarise, summary_text
    from raycxr.runs.bundle import find_bundle, read_bundle
    from raycxr.storage.check import check_writable
    from raycxr.storage.location import Location

    bundle = find_bundle(run)
    description = read_bundle(bundle)
    section = description.config.evaluate
    if resolution is not None:
        section = section.model_copy(update={"resolution": _resolution(resolution)})
    if out is not None:
        check_writable(Location(out))
    evaluations = []
    asked: list[str | None] = [*datasets] if datasets else [None]
    for dataset in asked:
        with FilmProgress("evaluate") as progress:
            evaluations.append(evaluate_bundle(bundle, dataset, split, section, progress))
    summaries = [summarise(evaluation, section.bootstrap) for evaluation in evaluations]
    if out is not None:
        files = write_evaluation(Location(out), evaluations, summaries, description, section.overlays)
        tell("\n".join(f"wrote {file}" for file in files))
    answer({"bundle": bundle.uri, "results": summaries}, "\n\n".join(map(summary_text, summaries)), json)


def _resolution(name: str) -> str:
    from raycxr.errors import UsageError

    if name not in ("original", "dataset"):
        raise UsageError(f"resolution {name!r} is unknown", "choose original or dataset")
    return name
