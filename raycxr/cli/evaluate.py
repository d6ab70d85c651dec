"""`raycxr evaluate`: per-film tables, summaries and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Also, Debug, Json, Network, TestTime, parse_views

if TYPE_CHECKING:
    from raycxr.storage.location import Location


def evaluate(
    run: Network,
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
    also: Also = None,
    checkpoints: Annotated[
        int | None,
        typer.Option(
            min=1, help="Average over this many best checkpoints of each run, not its best bundle.", show_default=False
        ),
    ] = None,
    test_time: TestTime = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on data sets, film by film."""
    from raycxr.cli.film_progress import FilmProgress
    from raycxr.dataset.manifest import read_manifest
    from raycxr.evaluation.evaluate import evaluate_predictor
    from raycxr.evaluation.files import write_evaluation
    from raycxr.evaluation.summary import summarise, summary_text
    from raycxr.prediction.predictor import load_predictor
    from raycxr.runs.bundle import is_classifier
    from raycxr.storage.check import check_writable
    from raycxr.storage.location import Location
    from raycxr.storage.patience import first_contact

    views = parse_views(test_time)
    with first_contact():
        networks = _networks([run, *(also or [])], checkpoints)
        # The last of several, too, before the first is measured.
        for dataset in datasets or ():
            read_manifest(Location(dataset))
    asked: list[str | None] = [*datasets] if datasets else [None]
    if len(networks) == 1 and is_classifier(networks[0]):
        _refuse_for_classifier({"--resolution": resolution, "--test-time": test_time})
        _evaluate_classifier(networks[0], asked, split, None if out is None else Location(out), json)
        return
    predictor = load_predictor(networks, views)
    section = predictor.bundles[0].config.evaluate
    if resolution is not None:
        section = section.model_copy(update={"resolution": _resolution(resolution)})
    if out is not None:
        check_writable(Location(out))
    evaluations = []
    for uri in asked:
        with FilmProgress("evaluate") as progress:
            evaluations.append(evaluate_predictor(predictor, uri, split, section, tell, progress))
    summaries = [summarise(evaluation, section.bootstrap) for evaluation in evaluations]
    if out is not None:
        files = write_evaluation(Location(out), evaluations, summaries, predictor)
        tell("\n".join(f"wrote {file}" for file in files))
    text = "\n\n".join([predictor.title, *map(summary_text, summaries)])
    answer({**predictor.description, "results": summaries}, text, json)


def _networks(uris: list[str], checkpoints: int | None) -> list[Location]:
    """Where the networks lie: one of each URI, or so many checkpoints."""
    from raycxr.prediction.checkpoint import best_checkpoints
    from raycxr.runs.bundle import find_bundle
    from raycxr.storage.location import Location

    if checkpoints is None:
        return [find_bundle(uri) for uri in uris]
    return [place for uri in uris for place in best_checkpoints(Location(uri), checkpoints)]


def _refuse_for_classifier(options: dict[str, object]) -> None:
    """Refuse options that speak of masks or of networks averaged, rather than ignore them."""
    from raycxr.errors import UsageError

    given = next((name for name, value in options.items() if value is not None), None)
    if given is not None:
        raise UsageError(f"{given} is for segmentation networks, a classifier has no use for it", f"leave {given} out")


def _evaluate_classifier(
    bundle: Location, datasets: list[str | None], split: str, out: Location | None, json: bool
) -> None:
    from raycxr.classification.evaluate import evaluate_classifier, evaluation_text
    from raycxr.classification.summary import FILMS, REPORT, SUMMARY
    from raycxr.cli.film_progress import FilmProgress
    from raycxr.storage.check import check_writable

    if out is not None:
        check_writable(out)
    results = []
    for number, dataset in enumerate(datasets, 1):
        # Several data sets must not write over one another.
        place = out if out is None or len(datasets) == 1 else out / str(number)
        with FilmProgress("evaluate") as progress:
            results.append(evaluate_classifier(bundle, dataset, split, place, tell, progress))
        if place is not None:
            tell("\n".join(f"wrote {place / name}" for name in (FILMS, SUMMARY, REPORT)))
    answer({"bundle": bundle.uri, "results": results}, evaluation_text(results), json)


def _resolution(name: str) -> str:
    from raycxr.errors import UsageError

    if name not in ("original", "dataset"):
        raise UsageError(f"resolution {name!r} is unknown", "choose original or dataset")
    return name
