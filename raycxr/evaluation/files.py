"""Files of an evaluation: `films.csv`, `summary.json`, and contact sheets of the worst and best films."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raycxr.evaluation.evaluate import Evaluation
from raycxr.evaluation.overlay import contact_sheet, ranked
from raycxr.evaluation.summary import film_table, summary_json
from raycxr.storage.location import Location


def write_evaluation(
    out: Location,
    evaluations: Sequence[Evaluation],
    summaries: Sequence[dict[str, Any]],
    bundle: str,
    overlays: int,
) -> list[Location]:
    """Write all files, and return where they are.

    Pictures are named after the data set where there are several.
    """
    written = [out / "films.csv", out / "summary.json"]
    written[0].write_text(film_table(evaluations))
    written[1].write_text(summary_json(summaries, bundle))
    if overlays == 0:
        return written
    for evaluation in evaluations:
        name = "" if len(evaluations) == 1 else f"-{Location(evaluation.dataset).name}"
        films = ranked(evaluation)
        for which, chosen in (("worst", films[:overlays]), ("best", films[::-1][:overlays])):
            picture = out / f"{which}{name}.png"
            title = f"{which} of {len(films)} {evaluation.split} films"
            picture.write_bytes(contact_sheet(evaluation, chosen, title))
            written.append(picture)
    return written
