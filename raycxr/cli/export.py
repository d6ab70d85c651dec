"""`raycxr export`: a network as an ONNX file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Debug, Json, Network


def export(
    run: Network,
    out: Annotated[str, typer.Option(metavar="FILE", help="The file, local or s3://.", show_default=False)],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a network as ONNX, from grey levels to probabilities, checked against torch."""
    from raycxr.prediction.onnx_export import export_onnx
    from raycxr.runs.bundle import find_bundle
    from raycxr.storage.location import Location
    from raycxr.storage.patience import first_contact

    with first_contact():
        location = find_bundle(run)
    exported = export_onnx(location, Location(out), tell)
    shapes = ", ".join(
        f"{name} ({', '.join(map(str, shape))})" for name, shape in {**exported.inputs, **exported.outputs}.items()
    )
    text = (
        f"{exported.out}: {exported.bytes / 1e6:.1f} MB, opset {exported.opset}, {shapes}\n"
        f"  H and W: {exported.sizes}; how to use it stands in its metadata"
    )
    answer(asdict(exported), text, json)
