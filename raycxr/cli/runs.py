"""`raycxr runs`: what lies under a storage URI, filtered and sorted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Debug, Json, Metric, Mode, Where


def runs(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Folder or s3:// prefix of runs.", show_default=False)],
    metric: Metric = None,
    mode: Mode = None,
    where: Where = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="Only runs with this status; may be given several times.", show_default=False),
    ] = None,
    sort: Annotated[str, typer.Option(help="metric, updated, run, status, or a key such as optimizer.lr.")] = "metric",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the runs under a storage URI, best first."""
    from raycxr.cli.run_table import run_table
    from raycxr.number_text import count
    from raycxr.runs.condition import check_status, parse_condition
    from raycxr.runs.listing import check_recorded, chosen_metric, filter_runs, list_runs, sort_runs
    from raycxr.runs.metric import check_mode
    from raycxr.storage.location import Location
    from raycxr.storage.patience import first_contact

    conditions = [parse_condition(text) for text in where or ()]
    statuses = [check_status(name) for name in status or ()]
    asked_mode = check_mode(mode)
    place = Location(uri)
    with first_contact():
        entries = list_runs(uri, tell)
        shown = filter_runs(entries, conditions, statuses)
        by, way = chosen_metric(place, shown, metric, asked_mode)
    if metric is not None:
        check_recorded(shown, metric)
    shown = sort_runs(shown, sort, by, way)
    document: list[dict[str, Any]] = [
        {
            "run": entry.location.uri,
            "status": entry.status,
            "reason": entry.reason,
            "epochs": entry.epochs,
            "best_epoch": entry.best_epoch,
            "metrics": entry.metrics,
            "model": entry.model,
            "trial": entry.trial,
            "has_bundle": entry.has_bundle,
            "updated": entry.updated,
        }
        for entry in shown
    ]
    none = f"none of {count(len(entries), 'run')} under {uri} is as asked" if entries else f"no runs under {uri}"
    answer(document, run_table(shown, place, by) if shown else none, json)
