"""`raycxr synth`: phantom data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from raycxr.cli.answer import answer
from raycxr.cli.options import Debug, Json
from raycxr.number_text import count as counted

# The names of `raycxr.sources.synth.LAYOUTS`, which takes too long to import for a help page.
_LAYOUTS = "siim-dicom, siim-png, jsrt, montgomery, shenzhen, tb-mirror or pairs"
_WITH_TABLE = "siim-dicom"


def synth(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help=f"{_LAYOUTS}.", show_default=False)],
    out: Annotated[str, typer.Option(help="Empty folder or s3:// prefix to write into.", show_default=False)],
    count: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of films; with --rle the first ones of the table.", show_default="with --rle all"
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=64, help="Pixels of the longer side.", show_default="the layout's own")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same films.")] = 0,
    rle: Annotated[
        str | None,
        typer.Option(
            help="Table of run lengths (.csv or .csv.gz, local or s3://) whose names and masks the films get; "
            "siim-dicom only.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write phantom films with true masks."""
    from raycxr.cli.film_progress import FilmProgress
    from raycxr.errors import UsageError
    from raycxr.sources.synth import LAYOUTS
    from raycxr.sources.synth_siim import write_siim_dicom_from_table
    from raycxr.storage.location import Location

    if layout not in LAYOUTS:
        raise UsageError(f"layout {layout!r} is unknown", f"choose {_LAYOUTS}")
    if rle is not None and layout != _WITH_TABLE:
        raise UsageError(f"--rle does not go with the layout {layout}", f"choose {_WITH_TABLE}, or leave --rle out")
    with FilmProgress("synth") as progress:
        if rle is not None:
            summary = write_siim_dicom_from_table(Location(out), Location(rle), count, size, seed, progress)
        elif count is not None:
            summary = LAYOUTS[layout](Location(out), count, size, seed, progress)
        else:
            raise UsageError("--count is missing", "say how many films to write; only with --rle it can be left out")
    document = {
        "out": Location(out).uri,
        "layout": layout,
        "images": summary.images,
        "with_mask": summary.with_mask,
    }
    text = f"{counted(summary.images, 'phantom film')} ({summary.with_mask} with masks) in the {layout} layout: {out}"
    answer(document, text, json)
