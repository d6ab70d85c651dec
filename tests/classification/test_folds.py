"""Folds: every film tested once, a patient on one side, the same share of positives, whatever the order of files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycxr.classification.folds import Fold, make_folds, whole
from raycxr.classification.labels import LabelledFilms
from raycxr.config.classify import ValidationSettings
from raycxr.dataset.films import SplitIndex
from raycxr.dataset.manifest import Manifest
from raycxr.errors import DataError
from raycxr.storage.location import Location

# All that is asked of it.
MANIFEST: dict[str, Any] = {"id": "abc"}


def films_of(rows: list[dict[str, Any]]) -> LabelledFilms:
    splits = SplitIndex(Location("/data/tb"), Manifest.model_construct(**MANIFEST), {"train": rows})
    return LabelledFilms("tb", splits, rows, np.array([row["positive"] for row in rows]))


def film(number: int, patient: int, positive: bool, source: str = "a", pixels: int | None = None) -> dict[str, Any]:
    return {
        "id": f"film{number}",
        "patient": f"p{patient}",
        "pixels_sha256": f"x{number if pixels is None else pixels}",
        "positive": positive,
        "source": source,
    }


@st.composite
def populations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Patients of one to three films; each has one label, and at least six have either."""
    rows: list[dict[str, Any]] = []
    for positive in (True, False):
        for _ in range(draw(st.integers(6, 15))):
            patient = len(rows)
            for _ in range(draw(st.integers(1, 3))):
                rows.append(film(len(rows), patient, positive))
    return rows


@settings(max_examples=60, deadline=None)
@given(populations(), st.integers(2, 5), st.integers(0, 3), st.randoms(use_true_random=False))
def test_folds(rows: list[dict[str, Any]], count: int, seed: int, random: Any) -> None:
    rule = ValidationSettings(folds=count)
    films = films_of(rows)
    folds = make_folds(films, rule, 0.2, seed)
    tested = [position for fold in folds for position in fold.test]
    assert sorted(tested) == list(range(len(rows)))
    shares = []
    for fold in folds:
        assert sorted([*fold.train, *fold.validation, *fold.test]) == list(range(len(rows)))
        sides = {side: {rows[p]["patient"] for p in getattr(fold, side)} for side in ("train", "validation", "test")}
        assert not sides["train"] & sides["validation"]
        assert not sides["test"] & (sides["train"] | sides["validation"])
        shares.append(sum(rows[p]["positive"] for p in fold.test))
        # The share asked for, and at most one patient's films more of either kind.
        assert 0.2 * (len(rows) - len(fold.test)) <= len(fold.validation) + 4
        assert len(fold.validation) <= 0.2 * (len(rows) - len(fold.test)) + 6
    assert max(shares) - min(shares) <= 3  # the most films that one patient has
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert by_id(make_folds(films_of(shuffled), rule, 0.2, seed), shuffled) == by_id(folds, rows)


def by_id(folds: list[Fold], rows: list[dict[str, Any]]) -> list[tuple[set[str], ...]]:
    return [
        tuple({rows[position]["id"] for position in side} for side in (fold.train, fold.validation, fold.test))
        for fold in folds
    ]


def test_one_film_per_patient_is_stratified_exactly() -> None:
    rows = [film(number, number, number % 3 == 0) for number in range(60)]
    folds = make_folds(films_of(rows), ValidationSettings(folds=5), 0.15, 0)
    assert [len(fold.test) for fold in folds] == [12] * 5
    assert [sum(rows[p]["positive"] for p in fold.test) for fold in folds] == [4] * 5


def test_the_seed_deals_anew_and_duplicates_stay_together() -> None:
    rows = [film(number, number, number // 4 % 2 == 0, pixels=number // 4) for number in range(40)]
    first, second = (make_folds(films_of(rows), ValidationSettings(), 0.2, seed) for seed in (0, 1))
    assert by_id(first, rows) != by_id(second, rows)
    for fold in first:
        assert {p // 4 for p in fold.test}.isdisjoint({p // 4 for p in (*fold.train, *fold.validation)})


def test_each_source_is_tested_once() -> None:
    rows = [film(number, number, number % 2 == 0, source="ab"[number % 5 > 2]) for number in range(40)]
    # A patient of source a whose other film lies in b: not trained on while either is tested.
    rows.append(film(40, 0, True, source="b"))
    folds = make_folds(films_of(rows), ValidationSettings(rule="source"), 0.2, 0)
    assert [fold.name for fold in folds] == ["a", "b"]
    for fold in folds:
        assert {rows[p]["source"] for p in fold.test} == {fold.name}
        assert {rows[p]["source"] for p in (*fold.train, *fold.validation)} == {"ab".replace(fold.name, "")}
        assert "p0" not in {rows[p]["patient"] for p in (*fold.train, *fold.validation)}


def test_the_model_that_is_kept_tests_nothing() -> None:
    rows = [film(number, number, number % 2 == 0) for number in range(40)]
    fold = whole(films_of(rows), 0.2, 0)
    assert (len(fold.train), len(fold.validation), fold.test) == (32, 8, [])


def test_what_cannot_be_divided() -> None:
    rows = [film(number, number, number < 3) for number in range(40)]
    with pytest.raises(DataError, match="3 patients of /data/tb have tb = 1, fewer than the 5 folds"):
        make_folds(films_of(rows), ValidationSettings(folds=5), 0.2, 0)
    with pytest.raises(DataError, match="come from one source, a"):
        make_folds(films_of(rows), ValidationSettings(rule="source"), 0.2, 0)
    rows = [film(number, number, number < 20, source="ab"[number < 20]) for number in range(40)]
    with pytest.raises(DataError, match="the training films do not hold both tb = 0 and tb = 1"):
        make_folds(films_of(rows), ValidationSettings(rule="source"), 0.2, 0)
