"""Files of an evaluation: `films.csv`, `summary.json`, pictures of the worst and best films, and `report.html`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raycxr.evaluation.evaluate import Evaluation
from raycxr.evaluation.overlay import contact_sheet
from raycxr.evaluation.page import report_page
from raycxr.evaluation.summary import film_table, summary_json
from raycxr.prediction.predictor import Predictor
from raycxr.storage.location import Location


def write_evaluation(
    out: Location,
    evaluations: Sequence[Evaluation],
    summaries: Sequence[dict[str, Any]],
    predictor: Predictor,
) -> list[Location]:
    """Write all files, the page last, and return where they are.

    Pictures are named after the data set where there are several.
    """
    (out / "films.csv").write_text(film_table(evaluations))
    (out / "summary.json").write_text(summary_json(summaries, predictor.description))
    written = [out / "films.csv", out / "summary.json"]
    pictures = [_pictures(evaluation) for evaluation in evaluations]
    for mark, sheets in zip(_marks(evaluations), pictures, strict=True):
        for heading, picture in sheets.items():
            place = out / f"{heading.split()[0].lower()}{mark}.png"
            place.write_bytes(picture)
            written.append(place)
    title = f"{predictor.title}: {', '.join(predictor.target.classes)}"
    where = ", ".join(bundle.location.uri for bundle in predictor.bundles)
    (out / "report.html").write_text(report_page(evaluations, summaries, pictures, where, title))
    return [*written, out / "report.html"]


def _pictures(evaluation: Evaluation) -> dict[str, bytes]:
    """Heading -> PNG; nothing where no picture is wanted."""
    of_all = f"of {evaluation.films_in_words}"
    # Of few films none is shown as one of the worst and one of the best.
    half = len(evaluation.films) // 2
    chosen = {"Worst": evaluation.worst[: len(evaluation.films) - half], "Best": evaluation.best[:half]}
    return {
        f"{which} {of_all}": contact_sheet(shown, evaluation.classes, f"{which} {of_all}")
        for which, shown in chosen.items()
        if shown
    }


def _marks(evaluations: Sequence[Evaluation]) -> list[str]:
    """What the names of pictures end in: nothing for a single data set, else its name, numbered where two share it."""
    if len(evaluations) == 1:
        return [""]
    names = [Location(evaluation.dataset).name for evaluation in evaluations]
    return [
        f"-{name}" if names.count(name) == 1 else f"-{name}-{names[: number + 1].count(name)}"
        for number, name in enumerate(names)
    ]
