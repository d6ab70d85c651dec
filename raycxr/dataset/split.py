"""Splits: who is trained on, validated on and tested on.

Films of one patient, and films with exactly the same pixels, form a group that is never divided. Groups are put in
order by a hash of (seed, patient), so that neither the order of the files nor the machine matters, and a data set
that grows keeps most of its films where they were.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from raycxr.config.dataset import SplitSection
from raycxr.errors import DataError
from raycxr.number_text import count

SPLITS = ("train", "validation", "test")


def assign_splits(
    index: Sequence[Mapping[str, Any]], rule: SplitSection, kept: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Split of every film.

    Parameters
    ----------
    index : sequence of mappings
        Rows with `id`, `patient`, `pixels_sha256` and `given_split`.
    rule : SplitSection
        How to divide.
    kept : mapping
        Film id -> split of films that stay where they are. A group follows the first of its films that is among them,
        and the rule divides the other groups so that the whole comes near its shares.

    Returns
    -------
    dict
        Film id -> one of `SPLITS`.

    Raises
    ------
    DataError
        The rule does not fit the data (no given split, no number in a name, fewer groups than folds).
    """
    groups = sorted(film_groups(index), key=lambda group: _order(rule.seed, group[0]))
    splits = _by_rule(index, groups, rule, kept)
    if rule.validation_folds is None:
        return splits
    rest = [group for group in groups if splits[group[0]] != "test"]
    _check_folds(len(rest), rule.validation_folds, "dataset.split.validation_folds")
    validating = _fold(index, rest, rule.validation_folds, rule.validation_fold, rule.seed)
    return splits | {film: "validation" if film in validating else "train" for group in rest for film in group}


def _by_rule(
    index: Sequence[Mapping[str, Any]], groups: Sequence[list[str]], rule: SplitSection, kept: Mapping[str, str]
) -> dict[str, str]:
    splits, free = _keep(groups, kept)
    if rule.rule == "fraction":
        shares = {"train": rule.train, "validation": rule.validation, "test": rule.test}
        return splits | _proportions(free, shares, Counter(splits.values()))
    if rule.rule == "given":
        return splits | _given(index, groups, free, rule, kept)
    if rule.rule == "k-fold":
        _check_folds(len(groups), rule.folds, "dataset.split.folds")
        tested = _fold(index, groups, rule.folds, rule.fold, rule.seed)
    else:
        tested = {row["id"] for row in index if _scr_fold(row["id"]) == rule.fold}
    # A group with one film in the tested fold goes there whole.
    rest = [group for group in free if not set(group) & tested]
    splits |= {film: "test" for group in free if set(group) & tested for film in group}
    return splits | _train_and_validation(rest, rule, kept)


def same_test_films(one: SplitSection, two: SplitSection) -> bool:
    """Whether two rules differ at most in how the films that are not tested are divided into folds."""
    plain = {"validation_folds": None, "validation_fold": 1}
    return one.model_copy(update=plain) == two.model_copy(update=plain)


def check_divisible(given: Mapping[str, str | None], rule: SplitSection) -> None:
    """Refuse a rule that does not fit films of which only the names and the given splits are known yet.

    Parameters
    ----------
    given : mapping
        Film id -> split that the source gives, or None.

    Raises
    ------
    DataError
        A film has no given split, or no number in its name, or there are fewer films than folds.
    """
    if rule.rule == "given":
        _check_given(given)
    if rule.rule == "scr-folds":
        for film in given:
            _scr_fold(film)
    if rule.rule == "k-fold":
        _check_folds(len(given), rule.folds, "dataset.split.folds")


def _keep(groups: Sequence[list[str]], kept: Mapping[str, str]) -> tuple[dict[str, str], list[list[str]]]:
    """Splits of the groups with a film that stays where it is, and the other groups."""
    splits: dict[str, str] = {}
    free: list[list[str]] = []
    for group in groups:
        sides = [kept[film] for film in group if film in kept]
        if sides:
            splits |= dict.fromkeys(group, sides[0])
        else:
            free.append(group)
    return splits, free


def _train_and_validation(groups: Sequence[list[str]], rule: SplitSection, kept: Mapping[str, str]) -> dict[str, str]:
    """Divide what is not tested, so that validation has its share of all films that are not."""
    shares = {"train": 1 - rule.validation_fraction, "validation": rule.validation_fraction}
    present = Counter(split for split in kept.values() if split in shares)
    return _proportions(groups, shares, present)


def _fold(
    index: Sequence[Mapping[str, Any]], groups: Sequence[list[str]], folds: int, fold: int, seed: int
) -> set[str]:
    """Films of one of k folds, counted from 1.

    Groups are dealt out in the order in which they come into the index, one to each fold in a round, and every round
    in an order of its own that follows from the seed. A data set that grows has its new films at the end, so that
    none of the others ever changes its fold, whichever fold was tested when it was written.
    """
    number = {row["id"]: position for position, row in enumerate(index)}
    dealt = sorted(groups, key=lambda group: min(number[film] for film in group))
    chosen: set[str] = set()
    for start in range(0, len(dealt), folds):
        order = sorted(range(folds), key=lambda place: _order(seed, f"round {start} fold {place}"))
        for group, place in zip(dealt[start : start + folds], order, strict=False):
            if place == fold - 1:
                chosen.update(group)
    return chosen


def split_counts(splits: Mapping[str, str]) -> dict[str, int]:
    """Films per split, in the order train, validation, test."""
    counts = Counter(splits.values())
    return {name: counts[name] for name in SPLITS}


def _order(seed: int, key: str) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def film_groups(index: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Connected films: by patient, or by equal pixels. Ids within a group, and the groups, are sorted."""
    leader: dict[str, str] = {}

    def find(key: str) -> str:
        leader.setdefault(key, key)
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for row in index:
        leader[find(f"patient {row['patient']}")] = find(f"pixels {row['pixels_sha256']}")
    members: dict[str, list[str]] = defaultdict(list)
    for row in index:
        members[find(f"patient {row['patient']}")].append(row["id"])
    return sorted(sorted(group) for group in members.values())


def _proportions(
    groups: Sequence[list[str]], shares: Mapping[str, float], present: Mapping[str, int] = MappingProxyType({})
) -> dict[str, str]:
    """Divide groups by the shares: counts by largest remainder, test filled first, then validation, then train.

    `present` are the films that each side has already, so that the shares hold for all together.
    """
    films = sum(len(group) for group in groups) + sum(present.values())
    total = sum(shares.values())
    exact = {name: films * share / total for name, share in shares.items()}
    wanted = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: wanted[name] - exact[name])
    for name in by_remainder[: films - sum(wanted.values())]:
        wanted[name] += 1
    for name, number in present.items():
        wanted[name] -= number
    splits: dict[str, str] = {}
    for group in groups:
        # Exact where every group is one film; a larger group that straddles a border stays whole.
        # Where a side has more than its share already, the others have no room for all.
        name = next((name for name in reversed(SPLITS) if wanted.get(name, 0) > 0), SPLITS[0])
        wanted[name] -= len(group)
        splits |= dict.fromkeys(group, name)
    return splits


def _scr_fold(film_id: str) -> int:
    number = re.search(r"(\d+)$", film_id)
    if number is None:
        raise DataError(
            f"the SCR folds go by film number, but {film_id!r} ends in none",
            "choose another dataset.split.rule",
        )
    return 1 if int(number.group(1)) % 2 else 2


def _check_folds(patients: int, folds: int, key: str) -> None:
    if patients < folds:
        there = "is" if patients == 1 else "are"
        raise DataError(f"{folds} folds need as many patients, there {there} {patients}", f"lower {key}")


def _check_given(given: Mapping[str, str | None]) -> None:
    without = [film for film, split in given.items() if split is None]
    if without:
        have = "has" if len(without) == 1 else "have"
        raise DataError(
            f"{len(without)} of {count(len(given), 'film')} {have} no given split, for example {without[0]!r}",
            "sort the films into train, validation and test folders, or choose another dataset.split.rule",
        )


def _given(
    index: Sequence[Mapping[str, Any]],
    groups: Sequence[list[str]],
    free: Sequence[list[str]],
    rule: SplitSection,
    kept: Mapping[str, str],
) -> dict[str, str]:
    given = {row["id"]: row["given_split"] for row in index}
    _check_given(given)
    for group in groups:
        sides = {given[film] for film in group}
        if len(sides) > 1:
            raise DataError(
                f"the given split divides one patient: {', '.join(group[:3])} lie in {', '.join(sorted(sides))}",
                "move the films to one side, or choose another dataset.split.rule",
            )
    splits = {film: given[film] for group in free for film in group}
    if "validation" in given.values():
        return splits
    # Many archives come with train and test only: validation is then taken from train.
    train = [group for group in free if given[group[0]] == "train"]
    return splits | _train_and_validation(train, rule, kept)
