"""Sampling: the shares that were asked for, every film in its turn, and the same for any number of workers."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycxr.config.load import check_config
from raycxr.config.sampling import SamplingSection
from raycxr.dataset.films import Key
from raycxr.dataset.loader import TrainSampler
from raycxr.dataset.sampling import EveryFilm, build_order, divide
from raycxr.errors import ConfigurationError, DataError

CLASSES = ("lung", "pneumothorax")
ANNEALED = {
    "stages": [{"epochs": 2, "positive_share": 0.8}, {"epochs": 3, "positive_share": 0.4}, {}],
    "positive_class": "pneumothorax",
}
shares = st.one_of(st.just("natural"), st.floats(0.01, 1))


def films(positive: int, negative: int, sources: tuple[str, ...] = ("siim",)) -> list[dict[str, Any]]:
    """Index rows: every film shows a lung, the first ones a pneumothorax; sources take turns."""
    return [
        {"pixels": [9, 5 if number < positive else 0], "source": sources[number % len(sources)]}
        for number in range(positive + negative)
    ]


def section(**values: Any) -> SamplingSection:
    return check_config({"sampling": values}, "test").sampling


def test_without_sampling_the_order_is_what_it_always_was() -> None:
    order = build_order(section(), films(3, 7), CLASSES, 4, seed=5)
    assert isinstance(order, EveryFilm)
    assert order.positions(2).tolist() == [2, 4, 0, 9, 5, 8, 6, 3, 1, 7]
    assert order.record(2) == {}


def test_the_share_of_positive_films_follows_the_stages() -> None:
    order = build_order(section(**ANNEALED), films(22, 78), CLASSES, 10, seed=0)
    drawn = [order.record(epoch)["positive_share"] for epoch in range(1, 9)]
    assert drawn == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.4, 0.22, 0.22, 0.22])
    assert all((order.positions(epoch) < 22).mean() == share for epoch, share in enumerate(drawn, 1))


@settings(deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 60), st.integers(1, 120), st.integers(1, 9), shares, shares, st.integers(0, 9)
)
def test_shares_are_exact_to_rounding_and_films_take_turns(
    positive: int, negative: int, films_per_epoch: int, batch_size: int, first: Any, then: Any, seed: int
) -> None:
    rows = films(positive, negative)
    asked = section(
        stages=[{"epochs": 4, "positive_share": first}, {"positive_share": then}],
        positive_class="pneumothorax",
        films_per_epoch=films_per_epoch,
    )
    order = build_order(asked, rows, CLASSES, batch_size, seed)
    assert order.films % batch_size == 0
    assert films_per_epoch <= order.films < films_per_epoch + batch_size
    seen: Counter[int] = Counter()
    wanted_so_far = 0.0
    for epoch in range(1, 9):
        positions = order.positions(epoch).tolist()
        share = first if epoch <= 4 else then
        wanted = (positive / len(rows) if share == "natural" else share) * order.films
        assert len(positions) == order.films
        assert abs(sum(position < positive for position in positions) - wanted) < 1.0001
        wanted_so_far += wanted
        for kind, members in ((True, range(positive)), (False, range(positive, len(rows)))):
            here = Counter(position for position in positions if (position < positive) == kind)
            # Nothing comes again in an epoch, or over the epochs, before all the others have come.
            for counts in (here, seen + here):
                often = [counts[member] for member in members]
                assert max(often) - min(often) <= 1
        seen.update(positions)
    assert abs(sum(seen[member] for member in range(positive)) - wanted_so_far) < 0.5001


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 7))
def test_a_step_holds_the_same_sampled_films_for_any_number_of_workers(
    share: int, parts: int, workers: int, epoch: int
) -> None:
    batch_size = share * parts * workers
    order = build_order(section(**ANNEALED, films_per_epoch=50), films(9, 31), CLASSES, batch_size, seed=1)

    def steps(parts: int, workers: int) -> list[list[int]]:
        samplers = [TrainSampler(order, batch_size, parts, rank, workers) for rank in range(workers)]
        for sampler in samplers:
            sampler.epoch = epoch
        batches = [list(sampler) for sampler in samplers]
        assert {len(part) for part in batches} == {len(samplers[0])}
        flat = [[key[1] for part in batches for key in part[number]] for number in range(len(batches[0]))]
        return [sorted(chain(*flat[start : start + parts])) for start in range(0, len(flat), parts)]

    assert steps(parts, workers) == steps(1, 1)
    assert sorted(chain(*steps(parts, workers))) == sorted(order.positions(epoch).tolist())


def test_a_film_that_comes_again_has_another_turn_whoever_takes_it() -> None:
    order = build_order(section(**ANNEALED, films_per_epoch=48), films(9, 31), CLASSES, 12, seed=1)

    def keys(parts: int, workers: int) -> list[Key]:
        samplers = [TrainSampler(order, 12, parts, rank, workers) for rank in range(workers)]
        for sampler in samplers:
            sampler.epoch = 1
        return sorted(key for sampler in samplers for batch in sampler for key in batch)

    alone = keys(1, 1)
    assert alone == keys(2, 3) == keys(1, 4)
    often = Counter(key.position for key in alone)
    # 0.8 of 48 films are positive, and there are 9: each comes four or five times.
    assert {often[position] for position in range(9)} == {4, 5}
    for position, times in often.items():
        assert [key.turn for key in alone if key.position == position] == list(range(times))


def test_every_epoch_has_as_many_steps() -> None:
    sampler = TrainSampler(build_order(section(**ANNEALED), films(9, 31), CLASSES, 16, seed=1), 16, 2, 0, 2)
    for epoch in range(1, 9):
        sampler.epoch = epoch
        assert len(list(sampler)) == len(sampler) == 6


def test_an_epoch_repeats_and_differs_from_the_next_and_from_another_seed() -> None:
    rows = films(20, 20)
    first, again, other = (build_order(section(**ANNEALED), rows, CLASSES, 8, seed).positions(3) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, build_order(section(**ANNEALED), rows, CLASSES, 8, 0).positions(4))


def test_sources_are_drawn_by_their_weights() -> None:
    rows = films(10, 50, ("shenzhen", "montgomery", "jsrt"))
    order = build_order(section(source_weights={"montgomery": 2, "jsrt": 0.5}), rows, CLASSES, 6, seed=0)
    assert order.films == 60
    seen = Counter(position for epoch in range(1, 8) for position in order.positions(epoch).tolist())
    often = Counter[str]()
    for position, times in seen.items():
        often[rows[position]["source"]] += times
    # 7 epochs of 60 films, 20 films of each source: shares of 1, 2 and 0.5 in 3.5.
    assert [often[source] for source in ("shenzhen", "montgomery", "jsrt")] == pytest.approx([120, 240, 60], abs=2)
    assert set(seen) == set(range(60))


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=6), st.integers(0, 400))
def test_a_growing_number_of_draws_takes_none_back(parts: list[float], total: int) -> None:
    now, then = divide(total, parts), divide(total + 1, parts)
    assert sum(now) == total
    assert all(0 <= before <= after for before, after in zip(now, then, strict=True))
    # Every rounding misses by half a draw at most, and hands what it missed to those that come after it.
    fair = [total * part / sum(parts) for part in parts]
    assert all(abs(count - share) <= len(parts) / 2 + 1e-6 for count, share in zip(now, fair, strict=True))


@pytest.mark.parametrize(
    ("values", "message", "remedy"),
    [
        ({"stages": [{"positive_share": 0.5}], "positive_class": "heart"}, "'heart' is no class", "lung, pneumothorax"),
        ({"source_weights": {"nih": 2}}, "names 'nih'", "choose from siim"),
        ({"stages": [{"positive_share": 0.5}]}, "all 5 training films show any class", "positive_class"),
    ],
)
def test_what_the_split_cannot_give(values: dict[str, Any], message: str, remedy: str) -> None:
    with pytest.raises((ConfigurationError, DataError), match=message) as caught:
        build_order(section(**values), films(2, 3), CLASSES, 2, 0)
    assert remedy in caught.value.remedy


def test_no_positive_film() -> None:
    asked = section(stages=[{"positive_share": 0.5}], positive_class="pneumothorax")
    with pytest.raises(DataError, match="none of the 3 training films shows pneumothorax"):
        build_order(asked, films(0, 3), CLASSES, 2, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": [{"positive_share": 0.8}, {}]}, "stage 1 of 2 does not say how many epochs"),
        ({"stages": [{"positive_share": 0.8, "epochs": 3}]}, "lasts to the end of the run"),
        ({"stages": [{"positive_share": "some"}]}, "'some' is neither natural nor a share"),
        ({"stages": [{"positive_share": 0}]}, "0 is neither natural nor a share"),
        ({"positive_class": "lung"}, "means nothing without stages"),
        ({"source_weights": {"siim": 0}}, "sampling.source_weights.siim = 0"),
        ({"positve_class": "lung"}, "unknown key"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        section(**values)
