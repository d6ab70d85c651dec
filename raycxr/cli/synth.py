"""`raycxr synth`: phantom data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from raycxr.cli.answer import answer
from raycxr.cli.options import Debug, Json


def synth(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help="jsrt or pairs.", show_default=False)],
    out: Annotated[str, typer.Option(help="Empty folder or s3:// prefix to write into.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="Number of films.", show_default=False)],
    size: Annotated[int | None, typer.Option(min=64, help="Pixels per side.", show_default="the layout's own")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same films.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write phantom films with true masks."""
    from tqdm import tqdm

    from raycxr.errors import UsageError
    from raycxr.sources.synth import LAYOUTS
    from raycxr.storage.location import Location

    if layout not in LAYOUTS:
        raise UsageError(f"layout {layout!r} is unknown", f"choose {' or '.join(LAYOUTS)}")
    with tqdm(total=count, unit="film", disable=None) as bar:
        summary = LAYOUTS[layout](Location(out), count, size, seed, bar.update)
    document = {
        "out": Location(out).uri,
        "layout": layout,
        "images": summary.images,
        "with_mask": summary.with_mask,
    }
    text = f"{summary.images} phantom films ({summary.with_mask} with masks) in the {layout} layout: {out}"
    answer(document, text, json)
