"""Films that a bundle in a classifier's service, its encoder's or its lung finder's, was itself trained on."""

from __future__ import annotations

from collections.abc import Mapping

from raycxr.classification.labels import LabelledFilms
from raycxr.dataset.films import open_splits
from raycxr.errors import RaycxrError
from raycxr.number_text import count
from raycxr.runs.bundle import Bundle, find_bundle, read_bundle
from raycxr.storage.patience import first_contact

# Part of a classifier -> tested films that it was trained on; None where that is not known.
Seen = Mapping[str, int | None]
ENCODER, LUNGS = "encoder", "lung_finder"


def films_seen(bundle: Bundle, films: LabelledFilms, encoder_alone: bool) -> int | None:
    """How many films lie in the train split of a bundle, or of one that its training started from.

    Parameters
    ----------
    encoder_alone : bool
        Nothing but the encoder is used, which learned nothing where it was frozen.

    Returns
    -------
    int or None
        Films with the same name or the same pixels; None where the data set of a bundle cannot be opened any more.
    """
    try:
        with first_contact():
            trained = _trained_on(bundle, encoder_alone)
    except RaycxrError:
        return None
    return sum(not trained.isdisjoint(_marks(row)) for row in films.rows)


def seen_text(seen: Seen, tested: int) -> str:
    """One sentence for people; empty where no part of a classifier came out of a bundle."""
    if not seen:
        return ""
    told = ", ".join(f"the {part.replace('_', ' ')} had seen {_number(number)}" for part, number in seen.items())
    films = count(tested, "film")
    return f"In training for its bundle, {told} of the {films} tested here, with their masks, not their labels."


def _number(films: int | None) -> str:
    if films is None:
        return "a number that is not known"
    return f"{films:,}" if films else "none"


def _trained_on(bundle: Bundle, encoder_alone: bool) -> set[str]:
    """Names and hashes of the pixels of all training films."""
    marks: set[str] = set()
    if not (encoder_alone and bundle.config.model.freezes_encoder):
        for row in open_splits(bundle.config).annotated("train"):
            marks.update(_marks(row))
    started_from = bundle.config.train.start_from
    if started_from is None:
        return marks
    return marks | _trained_on(read_bundle(find_bundle(started_from)), encoder_alone)


def _marks(row: Mapping[str, str]) -> tuple[str, str]:
    return row["id"], row["pixels_sha256"]
