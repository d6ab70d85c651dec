"""`raycxr inspect`: what is in a data set. Needs neither torch nor ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raycxr.cli.answer import answer, tell
from raycxr.cli.options import Debug, Json

if TYPE_CHECKING:
    from raycxr.config.augment import AugmentSection

# Films on a contact sheet.
PICTURES = 48


def inspect(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Data set, local or s3://.", show_default=False)],
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write a page with a contact sheet, local or s3://.", show_default=False),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET|CONFIG",
            help="Show how training changes films, by a preset or a configuration: on the page, or in --picture.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where --augment is drawn, a PNG, local or s3://.", show_default=False),
    ] = None,
    films: Annotated[int, typer.Option(min=1, help="Films whose intensities are measured.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Another seed measures and shows other films.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what is in a data set: counts, classes, splits, intensities, rejects; and how training would change it."""
    from raycxr.cli.film_progress import FilmProgress
    from raycxr.errors import UsageError
    from raycxr.report.inspection import inspect_dataset
    from raycxr.report.inspection_text import inspection_document, inspection_text
    from raycxr.storage.location import Location

    if picture and not picture.endswith(".png"):
        raise UsageError(f"--picture {picture} is written as PNG", "give it a name that ends in .png")
    changes = _find_augmentation(augment, html or picture, picture)
    with FilmProgress("inspect") as progress:
        inspection = inspect_dataset(Location(dataset), films, PICTURES if html else 0, seed, progress)
    sheet = None
    if changes is not None:
        from raycxr.report.augmentation_sheet import draw_augmentation

        name, section, run_seed = changes
        sheet = draw_augmentation(inspection.location, inspection.manifest, name, section, seed, run_seed)
    if sheet is not None and picture:
        Location(picture).write_bytes(sheet.encode(".png"))
        tell(f"wrote {picture}")
    if html:
        from raycxr.report.contact_sheet import contact_sheet_page

        Location(html).write_text(contact_sheet_page(inspection, sheet))
        tell(f"wrote {html}")
    answer(inspection_document(inspection), inspection_text(inspection), json)


def _find_augmentation(
    augment: str | None, shown: str | None, picture: str | None
) -> tuple[str, AugmentSection, int] | None:
    """Name, settings and seed of the run of `--augment`."""
    from raycxr.config.augment import AugmentSection
    from raycxr.config.augment_presets import PRESETS
    from raycxr.config.load import load_config
    from raycxr.errors import UsageError

    if augment is None:
        if picture is not None:
            raise UsageError("--picture shows augmentation, but --augment is not given", "add --augment PRESET")
        return None
    if shown is None:
        raise UsageError("--augment needs a file to be drawn in", "add --picture FILE.png or --html FILE.html")
    if augment in PRESETS:
        return augment, AugmentSection.model_validate({"preset": augment}), 0
    if Path(augment).suffix not in (".yaml", ".yml"):
        raise UsageError(
            f"--augment {augment!r} is neither a preset nor a YAML file", f"choose from {', '.join(PRESETS)}"
        )
    config = load_config(augment)
    return f"{Path(augment).stem} ({config.augment.preset})", config.augment, config.train.seed
