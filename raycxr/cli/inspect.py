"""`raycxr inspect`: what is in a data set. Needs neither torch nor ray."""

from __future__ import annotations

from typing import Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Debug, Json

# Films on a contact sheet.
PICTURES = 48


def inspect(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Data set, local or s3://.", show_default=False)],
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write a page with a contact sheet, local or s3://.", show_default=False),
    ] = None,
    films: Annotated[int, typer.Option(min=1, help="Films whose intensities are measured.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Another seed measures and shows other films.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what is in a data set: counts, classes, splits, intensities, rejects."""
    from raycxr.cli.film_progress import FilmProgress
    from raycxr.report.inspection import inspect_dataset
    from raycxr.report.inspection_text import inspection_document, inspection_text
    from raycxr.storage.location import Location

    with FilmProgress("inspect") as progress:
        inspection = inspect_dataset(Location(dataset), films, PICTURES if html else 0, seed, progress)
    if html:
        from raycxr.report.contact_sheet import contact_sheet_page

        Location(html).write_text(contact_sheet_page(inspection))
        tell(f"wrote {html}")
    answer(inspection_document(inspection), inspection_text(inspection), json)
