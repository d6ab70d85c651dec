"""`raycxr tune`: a sweep on Ray Tune."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import ConfigPath, Debug, Json, Overrides


def tune(
    path: ConfigPath,
    overrides: Overrides = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the sweep named by train.name, else the unfinished one of this file."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Search over architectures, losses or any other keys: a sweep of runs on Ray Tune."""
    from raycxr.cluster.connection import connected
    from raycxr.config.load import load_config

    config = load_config(path, overrides or [])
    with connected(config.resources.address, imports=("raycxr.tuning.sweep",)):
        from raycxr.tuning.sweep import run_sweep
        from raycxr.tuning.sweep_answer import sweep_document, sweep_text

        result = run_sweep(config, path, resume, tell)
    document: dict[str, Any] = sweep_document(result)
    answer(document, sweep_text(result), json)
