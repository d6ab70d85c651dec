"""Folds: on which films a classifier is trained, on which its best epoch is chosen, and on which it is tested.

Films of one patient, and films with exactly the same pixels, stay together, and every side has the same share of
positives as nearly as that allows. All follows from the seed and the patients, never from the order of the files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from raycxr.classification.labels import LabelledFilms
from raycxr.config.classify import ValidationSettings
from raycxr.dataset.split import film_groups
from raycxr.errors import DataError

# Films of one patient or with the same pixels, by their position among the labelled films.
Group = tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """Positions of films by what they are for; `test` is empty for the model that is kept."""

    name: str
    train: list[int]
    validation: list[int]
    test: list[int]


def make_folds(films: LabelledFilms, rule: ValidationSettings, validation_fraction: float, seed: int) -> list[Fold]:
    """Folds in which every film is tested exactly once.

    Raises
    ------
    DataError
        One source only, fewer patients of one kind than folds, or a training side of one kind only.
    """
    groups = _groups(films)
    tests = _sources(films) if rule.rule == "source" else _deal(films, groups, rule.folds, seed)
    return [_fold(films, groups, name, set(test), validation_fraction, seed) for name, test in tests.items()]


def whole(films: LabelledFilms, validation_fraction: float, seed: int) -> Fold:
    """All films, none tested: what the model that is kept is trained on."""
    return _fold(films, _groups(films), "all films", set(), validation_fraction, seed)


def _fold(
    films: LabelledFilms, groups: Sequence[Group], name: str, test: set[int], validation_fraction: float, seed: int
) -> Fold:
    # Where one patient has films in two sources, those that are not tested are not trained on either.
    rest = [group for group in groups if not test.intersection(group)]
    validation: list[int] = []
    for kind in (True, False):
        of_kind = _shuffled(films, (group for group in rest if _positive(films, group) == kind), f"{seed}:{name}")
        wanted = validation_fraction * sum(map(len, of_kind))
        taken: list[int] = []
        for group in of_kind[:-1]:  # one stays for training, however few there are
            if len(taken) >= wanted:
                break
            taken += group
        validation += taken
    held = set(validation)
    train = sorted(position for group in rest for position in group if position not in held)
    for side, positions in (("training", train), ("validation", validation)):
        if len({bool(films.labels[position]) for position in positions}) < 2:
            raise DataError(
                f"{name}: the {side} films do not hold both {films.label} = 0 and {films.label} = 1",
                "add films of both kinds, or choose another classify.validation",
            )
    return Fold(name, train, sorted(validation), sorted(test))


def _deal(films: LabelledFilms, groups: Sequence[Group], folds: int, seed: int) -> dict[str, list[int]]:
    """Deal groups, the largest first, to the fold that has the fewest films of their kind."""
    tests: list[list[int]] = [[] for _ in range(folds)]
    for kind in (True, False):
        of_kind = _shuffled(films, (group for group in groups if _positive(films, group) == kind), str(seed))
        if len(of_kind) < folds:
            raise DataError(
                f"{len(of_kind)} patients of {films.splits.location} have {films.label} = {int(kind)}, fewer than "
                f"the {folds} folds",
                f"set classify.validation.folds to {max(2, len(of_kind))} or less, or add films",
            )
        counts = [0] * folds
        for group in sorted(of_kind, key=len, reverse=True):
            fold = min(range(folds), key=lambda fold: (counts[fold], len(tests[fold]), fold))
            tests[fold] += group
            counts[fold] += len(group)
    return {f"fold {number}": test for number, test in enumerate(tests, 1)}


def _sources(films: LabelledFilms) -> dict[str, list[int]]:
    counts = Counter(row["source"] for row in films.rows)
    if len(counts) < 2:
        only = next(iter(counts))
        raise DataError(
            f"all {len(films)} labelled films of {films.splits.location} come from one source, {only}",
            "choose classify.validation.rule=k-fold, and test on another data set with raycxr evaluate",
        )
    return {
        source: [position for position, row in enumerate(films.rows) if row["source"] == source]
        for source in sorted(counts)
    }


def _groups(films: LabelledFilms) -> list[Group]:
    positions = {row["id"]: position for position, row in enumerate(films.rows)}
    return [tuple(positions[film] for film in group) for group in film_groups(films.rows)]


def _positive(films: LabelledFilms, group: Group) -> bool:
    return any(bool(films.labels[position]) for position in group)


def _shuffled(films: LabelledFilms, groups: Iterable[Group], key: str) -> list[Group]:
    """Groups in an order that follows from the key and the first film's name."""

    def order(group: Group) -> str:
        return hashlib.sha256(f"{key}:{films.rows[group[0]]['id']}".encode()).hexdigest()

    return sorted(groups, key=order)
