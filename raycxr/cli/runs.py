"""`raycxr runs`: what lies under a storage URI."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raycxr.cli.answer import answer
from raycxr.cli.options import Debug, Json, Metric, Mode


def runs(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Folder or s3:// prefix of runs.", show_default=False)],
    metric: Metric = "dice.mean",
    mode: Mode = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the runs under a storage URI, best first."""
    from raycxr.runs.listing import list_runs
    from raycxr.runs.metric import check_mode
    from raycxr.storage.patience import first_contact

    with first_contact():
        entries = list_runs(uri, metric, check_mode(mode, metric))
    document: list[dict[str, Any]] = [
        {
            "run": entry.location.uri,
            "status": entry.status,
            "epochs": entry.epochs,
            "best_epoch": entry.best_epoch,
            "metrics": entry.metrics,
            "model": entry.model,
            "updated": entry.updated,
        }
        for entry in entries
    ]
    width = max([3, *(len(entry.location.name) for entry in entries)])
    lines = [f"{'run':<{width}}  {'status':<11}  {'epochs':>6}  {'best':>4}  {metric:>12}  model"]
    for entry in entries:
        value = entry.value(metric)
        shown = "-" if value is None else f"{value:.4f}"
        # After the last epoch stands the mean of their weights.
        found = "mean" if entry.best_epoch is not None and entry.best_epoch > entry.epochs else entry.best_epoch
        best = "-" if found is None else str(found)
        state = f"{entry.status:<11}  {entry.epochs:>6}  {best:>4}  {shown:>12}"
        lines.append(f"{entry.location.name:<{width}}  {state}  {entry.model}")
    answer(document, "\n".join(lines) if entries else f"no runs under {uri}", json)
