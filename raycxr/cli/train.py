"""`raycxr train`: one run, on Ray Train or in this process."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import ConfigPath, Debug, Json, Overrides
from raycxr.errors import UsageError


def train(
    path: ConfigPath,
    overrides: Overrides = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Continue a run, by name or URI.", show_default=False)
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Train in this process, without Ray.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Profile some steps of the first epoch: a table and a trace in the run.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train one run, on Ray Train or in this process; a classifier (section classify) always in this process."""
    from raycxr.config.load import load_config
    from raycxr.training.startup import without_garbage_collection

    config = load_config(path, [*(overrides or []), *(["tracking.profile=true"] if profile else [])])
    if config.classify is not None:
        if profile:
            raise UsageError("--profile looks into the training of networks that segment", "leave it out")
        from raycxr.cli.film_progress import FilmProgress

        with without_garbage_collection():
            from raycxr.classification.run import classify, result_text

        classified = classify(config, path, resume, tell, FilmProgress)
        answer(asdict(classified), result_text(classified), json)
        return
    if local:
        with without_garbage_collection():
            from raycxr.training.run import train as train_run
            from raycxr.training.run import train_here

        result = train_run(config, path, resume, train_here, tell)
    else:
        from raycxr.cluster.connection import connected

        with connected(config.resources.address, imports=("raycxr.training.ray_train", "raycxr.training.run")):
            from raycxr.training.ray_train import train_on_ray
            from raycxr.training.run import train as train_run

            result = train_run(config, path, resume, train_on_ray, tell)
    dice = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics["dice"].items())
    best = (
        f"best epoch {result.best_epoch} of {result.epochs}"
        if result.best_epoch <= result.epochs
        else f"best: the mean of the last of {result.epochs} epochs"
    )
    text = f"{result.run}\n  {best}, validation Dice: {dice}\n  bundle {result.bundle}"
    document = {
        "run": result.run,
        "bundle": result.bundle,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "metrics": result.metrics,
    }
    if config.tracking.profile:
        from raycxr.storage.location import Location
        from raycxr.training.step_profiler import profile_files

        document["profile"] = profile_files(Location(result.run))
    answer(document, text, json)
