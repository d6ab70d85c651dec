"""`raycxr ingest`: raw films to verified shards."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import ConfigPath, Debug, Json, Overrides
from raycxr.number_text import count

SHOWN_REJECTS = 10


def ingest(
    path: ConfigPath,
    overrides: Overrides = None,
    local: Annotated[bool, typer.Option("--local", help="Convert in this process, without Ray.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Convert raw films into verified shards, on Ray Data."""
    from raycxr.cli.film_progress import FilmProgress
    from raycxr.config.load import load_config
    from raycxr.dataset.ingest import IngestSummary, Runner, run_here
    from raycxr.dataset.ingest import ingest as convert
    from raycxr.errors import InterruptionError

    config = load_config(path, overrides or [])

    def work(runner: Runner) -> IngestSummary:
        with FilmProgress("ingest") as progress:
            try:
                return convert(config, runner, progress)
            except KeyboardInterrupt:
                if not progress.total:
                    raise
                done = f"{progress.done} of {count(progress.total, 'film')} are done"
                raise InterruptionError(f"interrupted: {done}", "run the same command again to go on") from None

    if local:
        summary = work(run_here)
    else:
        from raycxr.cluster.connection import connected

        with connected(config.resources.address):
            from raycxr.dataset.ray_ingest import run_on_ray

            summary = work(run_on_ray)
    reasons = Counter(reject["reason"] for reject in summary.rejects)
    for reject in summary.rejects[:SHOWN_REJECTS]:
        tell(f"rejected {reject['original']}: {reject['reason']}: {reject['detail']}")
    if len(summary.rejects) > SHOWN_REJECTS:
        tell(f"... and {len(summary.rejects) - SHOWN_REJECTS} more, see rejects.parquet")
    keys = ("dataset", "id", "images", "rejected", "shards", "skipped")
    document = {key: getattr(summary, key) for key in keys} | {"rejects": dict(reasons)}
    counts, manifest = summary.manifest.counts, summary.manifest
    there = f" ({summary.skipped} {'was' if summary.skipped == 1 else 'were'} there already)" if summary.skipped else ""
    size = manifest.geometry.size
    lines = [
        summary.dataset,
        f"  {count(summary.images, 'film')} in {count(summary.shards, 'shard')}{there}, {size} x {size}, "
        f"content {summary.id}",
        f"  classes   {', '.join(manifest.classes)}",
        f"  masks     {counts.annotated} annotated, {summary.images - counts.annotated} without",
        f"  rejected  {summary.rejected}",
    ]
    if reasons:
        lines[-1] += ": " + ", ".join(f"{files} {reason}" for reason, files in sorted(reasons.items()))
    answer(document, "\n".join(lines), json)
