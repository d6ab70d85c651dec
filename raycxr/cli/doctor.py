"""`raycxr doctor`: what is wrong here, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from raycxr.cli.answer import answer, answer_error
from raycxr.cli.options import Debug, Json


def doctor(
    storage: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Folder or s3:// prefix to put, get, list and delete in.", show_default=False),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Job API of a cluster to look at.", show_default=False),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at versions, GPUs, shared memory, storage, cluster and Kubernetes."""
    from raycxr.cluster.doctor import examine, wrong

    checks = examine(storage, address)
    error = wrong(checks)
    document = {"ok": error is None, "checks": [asdict(check) for check in checks]}
    lines = []
    for check in checks:
        lines.append(f"{'ok   ' if check.ok else 'WRONG'}  {check.name:<10}  {check.detail}")
        if check.remedy:
            lines.append(f"{'':19}{check.remedy}")
    if error is None:
        answer(document, "\n".join(lines), json)
        return
    if not json:
        print("\n".join(lines))
    answer_error(error, json, document)
    raise typer.Exit(1)
