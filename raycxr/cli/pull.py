"""`raycxr pull`: the best checkpoint of a run or of a whole prefix, verified. Needs neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from raycxr.cli.answer import answer
from raycxr.cli.options import Debug, Json, Metric, Mode


def pull(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Run, or prefix of runs.", show_default=False)],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="New folder.", show_default=False)],
    metric: Metric = "dice.mean",
    mode: Mode = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring the best checkpoint as a verified bundle."""
    from raycxr.runs.bundle import pull_bundle
    from raycxr.runs.listing import best_run
    from raycxr.runs.metric import check_mode
    from raycxr.runs.record import BEST
    from raycxr.storage.patience import first_contact

    with first_contact():
        best, second = best_run(uri, metric, check_mode(mode, metric))
    pull_bundle(best.location / BEST, destination)
    value = best.value(metric)
    document: dict[str, Any] = {
        "bundle": str(destination.resolve()),
        "run": best.location.uri,
        "metric": metric,
        "value": value,
    }
    text = f"{destination}: epoch {best.best_epoch} of {best.location}, {metric} {value:.4f} on validation"
    if second is not None:
        document["runner_up"] = {"run": second.location.uri, "value": second.value(metric)}
        text += f"\n  runner-up: {second.location.name} with {second.value(metric):.4f}"
    answer(document, text, json)
