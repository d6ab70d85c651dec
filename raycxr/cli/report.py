"""`raycxr report`: a page about a sweep. Needs neither torch nor ray."""

from __future__ import annotations

from typing import Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Debug, Json


def report(
    place: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep, local or s3://.", show_default=False)],
    out: Annotated[str, typer.Option(metavar="FILE", help="The page, local or s3://.", show_default=False)],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw a sweep on one page: parameters, what decided, learning curves, cost and every trial."""
    from raycxr.number_text import count
    from raycxr.report.sweep_page import sweep_page
    from raycxr.report.sweep_results import candidate_name, read_results, value_text
    from raycxr.runs.sweep import best_trial
    from raycxr.storage.location import Location
    from raycxr.storage.patience import first_contact

    with first_contact():
        results = read_results(Location(place))
    page = Location(out)
    page.write_text(sweep_page(results))
    tell(f"wrote {page}")
    document = {
        "report": page.uri,
        "sweep": results.location.uri,
        "status": results.record["status"],
        "trials": len(results.trials),
        "metric": results.metric,
        "mode": results.mode,
        "best": None,
    }
    text = f"{results.location}: {count(len(results.trials), 'trial')}, no candidate with a value"
    if results.best is not None:
        trial = best_trial(results.best, results.metric, results.mode)
        value = results.value(results.best)
        document["best"] = {"run": trial.location.uri, "parameters": results.best.parameters, "value": value}
        text = (
            f"best of {len(results.candidates)}: {candidate_name(results.best)}, {results.metric} {value_text(value)}"
        )
    answer(document, text, json)
