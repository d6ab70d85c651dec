"""Splits: counts, patients and duplicates kept together, the official protocols."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raycxr.config.dataset import SplitSection
from raycxr.dataset.split import assign_splits, check_divisible, film_groups, same_test_films, split_counts
from raycxr.errors import DataError


def row(
    film: str, patient: str | None = None, pixels: str | None = None, given_split: str | None = None
) -> dict[str, Any]:
    return {"id": film, "patient": patient or film, "pixels_sha256": pixels or film, "given_split": given_split}


def jsrt(count: int) -> list[dict[str, Any]]:
    return [row(f"JPCLN{number:03d}") for number in range(1, count + 1)]


@pytest.mark.parametrize(("films", "counts"), [(246, (198, 23, 25)), (247, (199, 23, 25)), (245, (197, 23, 25))])
def test_the_dd2424_counts(films: int, counts: tuple[int, int, int]) -> None:
    splits = assign_splits(jsrt(films), SplitSection(train=198, validation=23, test=25))
    assert tuple(split_counts(splits).values()) == counts


indexes = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 30)), min_size=1, max_size=60).map(
    lambda pairs: [row(f"film{i:03d}", f"patient{p}", f"pixels{h}") for i, (p, h) in enumerate(pairs)]
)
rules = st.one_of(
    st.builds(
        SplitSection,
        rule=st.just("fraction"),
        train=st.floats(0.1, 10),
        validation=st.floats(0, 10),
        test=st.floats(0, 10),
        seed=st.integers(0, 5),
    ),
    st.builds(SplitSection, rule=st.just("scr-folds"), fold=st.integers(1, 2), seed=st.integers(0, 5)),
)


@given(indexes, rules)
def test_every_film_is_somewhere_and_groups_stay_together(index: list[dict[str, Any]], rule: SplitSection) -> None:
    splits = assign_splits(index, rule)
    assert sorted(splits) == [film["id"] for film in index]
    for key in ("patient", "pixels_sha256"):
        sides: dict[str, set[str]] = {}
        for film in index:
            sides.setdefault(film[key], set()).add(splits[film["id"]])
        assert all(len(side) == 1 for side in sides.values())


@given(indexes, rules, st.randoms())
def test_order_does_not_matter(index: list[dict[str, Any]], rule: SplitSection, random: Any) -> None:
    shuffled = list(index)
    random.shuffle(shuffled)
    assert assign_splits(index, rule) == assign_splits(shuffled, rule)


def test_another_seed_gives_another_split() -> None:
    one, two = (assign_splits(jsrt(100), SplitSection(seed=seed)) for seed in (0, 1))
    assert split_counts(one) == split_counts(two)
    assert one != two


def test_a_grown_data_set_keeps_most_films_where_they_were() -> None:
    before, after = (assign_splits(jsrt(count), SplitSection()) for count in (200, 210))
    moved = sum(before[film] != after[film] for film in before)
    assert moved <= 8


def test_k_folds_test_every_film_once() -> None:
    tested = [
        film
        for fold in range(1, 6)
        for film, split in assign_splits(jsrt(52), SplitSection(rule="k-fold", folds=5, fold=fold)).items()
        if split == "test"
    ]
    assert sorted(tested) == [film["id"] for film in jsrt(52)]


def test_scr_folds_are_odd_and_even() -> None:
    splits = assign_splits(jsrt(20), SplitSection(rule="scr-folds", fold=1))
    assert {int(film[-3:]) % 2 for film, split in splits.items() if split == "test"} == {1}
    assert {int(film[-3:]) % 2 for film, split in splits.items() if split != "test"} == {0}
    assert split_counts(splits) == {"train": 9, "validation": 1, "test": 10}


def test_given_splits_are_kept_and_validation_is_taken_from_train() -> None:
    index = [row(f"a{n}", given_split="train") for n in range(20)] + [row("b", given_split="test")]
    splits = assign_splits(index, SplitSection(rule="given", validation_fraction=0.25))
    assert split_counts(splits) == {"train": 15, "validation": 5, "test": 1}
    assert splits["b"] == "test"


def test_what_names_and_folders_tell_is_refused_before_any_film_is_read() -> None:
    check_divisible({"a": "train", "b": "test"}, SplitSection(rule="given"))
    check_divisible({"a": None}, SplitSection())
    with pytest.raises(DataError, match="1 of 2 films has no given split, for example 'b'"):
        check_divisible({"a": "train", "b": None}, SplitSection(rule="given"))
    with pytest.raises(DataError, match="ends in none"):
        check_divisible({"a": None}, SplitSection(rule="scr-folds"))
    with pytest.raises(DataError, match="5 folds need as many patients, there is 1"):
        check_divisible({"a": None}, SplitSection(rule="k-fold"))


def test_rules_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="no given split"):
        assign_splits([row("a")], SplitSection(rule="given"))
    with pytest.raises(DataError, match="divides one patient"):
        assign_splits(
            [row("a", "p", given_split="train"), row("b", "p", given_split="test")], SplitSection(rule="given")
        )
    with pytest.raises(DataError, match="as many patients"):
        assign_splits(jsrt(3), SplitSection(rule="k-fold", folds=5))
    with pytest.raises(DataError, match="ends in none"):
        assign_splits([row("film")], SplitSection(rule="scr-folds"))


@given(indexes, rules, st.integers(0, 60))
def test_films_that_are_kept_stay_where_they_are(index: list[dict[str, Any]], rule: SplitSection, count: int) -> None:
    before = assign_splits(index[:count], rule) if index[:count] else {}
    after = assign_splits(index, rule, before)
    assert set(after) == {row["id"] for row in index}
    for key in ("patient", "pixels_sha256"):
        for value in {row[key] for row in index}:
            assert len({after[row["id"]] for row in index if row[key] == value}) == 1
    sides: dict[str, set[str]] = {}
    for group in film_groups(index):
        sides[group[0]] = {before[film] for film in group if film in before}
        # Only a new film that joins two groups can move one of them.
        assert len(sides[group[0]]) != 1 or sides[group[0]] == {after[film] for film in group}


def test_a_data_set_that_grows_comes_near_its_shares() -> None:
    rule = SplitSection(train=8, validation=1, test=1)
    before = assign_splits(jsrt(100), rule)
    assert split_counts(assign_splits(jsrt(200), rule, before)) == {"train": 160, "validation": 20, "test": 20}
    assert split_counts(assign_splits(jsrt(101), rule, before)) == {"train": 81, "validation": 10, "test": 10}


def test_folds_of_a_data_set_that_grows_by_less_than_a_fold() -> None:
    rule = SplitSection(rule="k-fold", folds=5)
    before = assign_splits(jsrt(20), rule)
    after = assign_splits(jsrt(22), rule, before)
    assert {film: after[film] for film in before} == before


@pytest.mark.parametrize(
    "rule",
    [
        SplitSection(rule="k-fold", folds=5, fold=2, validation_fraction=0.1),
        SplitSection(rule="fraction", train=0.72, validation=0.08, test=0.2),
        SplitSection(rule="given", validation_fraction=0.1),
    ],
)
def test_growth_film_by_film_keeps_the_shares(rule: SplitSection) -> None:
    index = [row(f"film{n:03d}", given_split="test" if n % 5 == 1 else "train") for n in range(100)]
    splits = assign_splits(index[:10], rule)
    for count in range(11, 101):
        splits = assign_splits(index[:count], rule, splits)
    counts = split_counts(splits)
    assert counts["test"] == 20
    assert 6 <= counts["validation"] <= 10


def test_folds_are_a_partition_after_growth_too() -> None:
    """One fold was in force when the data set grew; the others are computed from what it has become."""
    rule = SplitSection(rule="k-fold", folds=5, fold=1)
    index = [row(f"film{n:03d}") for n in range(100)]
    grown = index + [row(f"a new film{n:03d}") for n in range(90)]
    kept = assign_splits(grown, rule, assign_splits(index, rule))
    tested = [film for film, split in kept.items() if split == "test"]
    for fold in range(2, 6):
        others = assign_splits(grown, rule.model_copy(update={"fold": fold}))
        tested += [film for film, split in others.items() if split == "test"]
    assert sorted(tested) == sorted(film["id"] for film in grown)


def validation_rules(rule: SplitSection, folds: int) -> list[SplitSection]:
    """A rule with each of so many folds for validation in turn."""
    return [
        rule.model_copy(update={"validation_folds": folds, "validation_fold": fold}) for fold in range(1, folds + 1)
    ]


any_rules = st.one_of(
    rules,
    st.builds(SplitSection, rule=st.just("k-fold"), folds=st.integers(2, 3), fold=st.integers(1, 2)),
    st.builds(SplitSection, rule=st.just("given")),
)


@given(indexes, any_rules, st.integers(2, 5), st.integers(0, 60))
def test_validation_folds_are_a_partition_of_what_is_not_tested(
    index: list[dict[str, Any]], rule: SplitSection, folds: int, count: int
) -> None:
    side = {film: "train" if n % 4 else "test" for n, group in enumerate(film_groups(index)) for film in group}
    for row in index:
        row["given_split"] = side[row["id"]]
    try:
        before = assign_splits(index[:count], rule) if index[:count] else {}
        plain = assign_splits(index, rule, before)
    except DataError:
        return  # fewer groups than the rule itself has folds
    tested = {film for film, split in plain.items() if split == "test"}
    groups = [group for group in film_groups(index) if group[0] not in tested]
    if len(groups) < folds:
        with pytest.raises(DataError, match=f"{folds} folds need as many patients"):
            assign_splits(index, validation_rules(rule, folds)[0], before)
        return
    validated: list[str] = []
    for fold in validation_rules(rule, folds):
        splits = assign_splits(index, fold, before)
        assert {film for film, split in splits.items() if split == "test"} == tested
        assert set(splits) == set(plain)
        assert set(splits.values()) - {"test"} == {"train", "validation"}
        assert all(len({splits[film] for film in group}) == 1 for group in film_groups(index))
        validated += [film for film, split in splits.items() if split == "validation"]
    assert sorted(validated) == sorted(set(plain) - tested)


def test_validation_folds_are_of_one_size() -> None:
    counts = [
        split_counts(assign_splits(jsrt(100), rule))
        for rule in validation_rules(SplitSection(train=70, validation=10, test=20), 5)
    ]
    assert counts == [{"train": 64, "validation": 16, "test": 20}] * 5


def test_too_many_validation_folds_name_their_key() -> None:
    with pytest.raises(DataError) as caught:
        assign_splits(jsrt(10), SplitSection(train=8, validation=1, test=1, validation_folds=10))
    assert str(caught.value) == ("10 folds need as many patients, there are 9 - lower dataset.split.validation_folds")
    with pytest.raises(ValueError, match="validation_fold 4 is none of 1 to 3"):
        SplitSection(validation_folds=3, validation_fold=4)


def test_rules_that_test_the_same_films() -> None:
    rule = SplitSection(seed=3)
    assert all(same_test_films(rule, other) for other in [rule, *validation_rules(rule, 4)])
    assert same_test_films(*validation_rules(rule, 2))
    assert not same_test_films(rule, SplitSection(seed=4))
    assert not same_test_films(validation_rules(rule, 2)[0], SplitSection(seed=3, test=0.2))
