"""`raycxr pull`: the best checkpoint of a run, a sweep or a whole prefix, verified. Needs neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Debug, Json, Metric, Mode, Where


def pull(
    uri: Annotated[str, typer.Argument(metavar="URI", help="Run, sweep, or prefix of runs.", show_default=False)],
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="New folder.", show_default=False)],
    metric: Metric = None,
    mode: Mode = None,
    where: Where = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Bring the best checkpoint as a verified bundle."""
    from raycxr.runs.bundle import pull_bundle
    from raycxr.runs.choice import RUNNING, choose
    from raycxr.runs.condition import parse_condition
    from raycxr.runs.metric import check_mode
    from raycxr.runs.record import BEST
    from raycxr.storage.patience import first_contact

    conditions = [parse_condition(text) for text in where or ()]
    with first_contact():
        choice = choose(uri, metric, check_mode(mode), conditions, tell)
    best, second = choice.best, choice.runner_up
    pull_bundle(best.run.location / BEST, destination, tell)
    document: dict[str, Any] = {
        "bundle": str(destination.resolve()),
        "run": best.run.location.uri,
        "metric": choice.metric,
        "value": best.value,
        "reason": choice.reason,
    }
    still = " (still running)" if best.run.status == RUNNING else ""
    films = "out of fold" if best.run.split == "out of fold" else f"on {best.run.split}"
    text = (
        f"{destination}: epoch {best.run.best_epoch} of {best.run.location}{still}, {choice.metric} {best.value:.4f} "
        f"{films}\n  chosen: {choice.reason}"
    )
    if second is not None:
        document["runner_up"] = {"run": second.run.location.uri, "value": second.value}
        mean = f", mean {second.mean:.4f}" if second.is_candidate else ""
        text += f"\n  runner-up: {second.run.location.name} with {second.value:.4f}{mean}"
    answer(document, text, json)
