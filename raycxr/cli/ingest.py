"""`raycxr ingest`: raw films to verified shards."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from raycxr.cli.answer import answer
from raycxr.cli.options import ConfigPath, Debug, Json, Overrides


def ingest(
    path: ConfigPath,
    overrides: Overrides = None,
    local: Annotated[bool, typer.Option("--local", help="Convert in this process, without Ray.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Convert raw films into verified shards, on Ray Data."""
    from tqdm import tqdm

    from raycxr.config.load import load_config
    from raycxr.dataset.ingest import IngestSummary, Runner, run_here
    from raycxr.dataset.ingest import ingest as convert

    config = load_config(path, overrides or [])

    def work(runner: Runner) -> IngestSummary:
        with tqdm(unit="film", disable=None) as bar:
            return convert(config, runner, bar.update)

    if local:
        summary = work(run_here)
    else:
        from raycxr.cluster.connection import connected

        with connected(config.resources.address):
            from raycxr.dataset.ray_ingest import run_on_ray

            summary = work(run_on_ray)
    document = {key: value for key, value in asdict(summary).items() if key != "manifest"}
    answer(document, _text(summary), json)


def _text(summary: object) -> str:
    from raycxr.dataset.ingest import IngestSummary

    assert isinstance(summary, IngestSummary)
    manifest = summary.manifest
    there = f" ({summary.skipped} were there already)" if summary.skipped else ""
    lines = [
        f"{summary.dataset}",
        f"  {summary.images} films in {summary.shards} shards{there}, "
        f"{manifest.geometry.size} x {manifest.geometry.size}, content {summary.id}",
        f"  classes   {', '.join(manifest.classes)}",
        f"  masks     {manifest.counts.annotated} annotated, {summary.images - manifest.counts.annotated} without",
    ]
    rejects = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.rejects.items()))
    lines.append(f"  rejected  {summary.rejected}" + (f": {rejects} (see rejects.parquet)" if rejects else ""))
    return "\n".join(lines)
