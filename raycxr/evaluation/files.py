"""Files of an evaluation: `films.csv`, `summary.json`, pictures of the worst and best films, and `report.html`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raycxr.evaluation.evaluate import Evaluation
from raycxr.evaluation.overlay import contact_sheet, ranked
from raycxr.evaluation.page import report_page
from raycxr.evaluation.summary import film_table, summary_json
from raycxr.number_text import count
from raycxr.prediction.predictor import Predictor
from raycxr.storage.location import Location


def write_evaluation(
    out: Location,
    evaluations: Sequence[Evaluation],
    summaries: Sequence[dict[str, Any]],
    predictor: Predictor,
    overlays: int,
) -> list[Location]:
    """Write all files, the page last, and return where they are.

    Pictures are named after the data set where there are several.
    """
    (out / "films.csv").write_text(film_table(evaluations))
    (out / "summary.json").write_text(summary_json(summaries, predictor.description))
    written = [out / "films.csv", out / "summary.json"]
    pictures = [_pictures(evaluation, overlays) for evaluation in evaluations]
    for evaluation, sheets in zip(evaluations, pictures, strict=True):
        of_dataset = "" if len(evaluations) == 1 else f"-{Location(evaluation.dataset).name}"
        for heading, picture in sheets.items():
            place = out / f"{heading.split()[0].lower()}{of_dataset}.png"
            place.write_bytes(picture)
            written.append(place)
    title = f"{predictor.title}: {', '.join(predictor.target.classes)}"
    where = ", ".join(bundle.location.uri for bundle in predictor.bundles)
    (out / "report.html").write_text(report_page(evaluations, summaries, pictures, where, title))
    return [*written, out / "report.html"]


def _pictures(evaluation: Evaluation, overlays: int) -> dict[str, bytes]:
    """Heading -> PNG; nothing where no picture is wanted."""
    films = ranked(evaluation)
    chosen = {"Worst": films[:overlays], "Best": films[::-1][:overlays]}
    of_all = f"of {count(len(films), f'{evaluation.split} film')}"
    return {
        f"{which} {of_all}": contact_sheet(evaluation, shown, f"{which} {of_all}")
        for which, shown in chosen.items()
        if shown
    }
