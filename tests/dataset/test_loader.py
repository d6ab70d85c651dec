"""Samplers: no film is lost, and the same films meet in a step for any number of workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raycxr.dataset.loader import EvaluationSampler, TrainSampler
from raycxr.dataset.sampling import EveryFilm

shapes = st.tuples(st.integers(1, 70), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))


@given(shapes, st.integers(0, 3), st.integers(0, 5))
def test_a_step_holds_the_same_films_for_any_number_of_workers(
    shape: tuple[int, int, int, int], seed: int, epoch: int
) -> None:
    films, share, parts, workers = shape
    batch_size = share * parts * workers

    def steps(parts: int, workers: int) -> list[list[int]]:
        per_worker = []
        for rank in range(workers):
            sampler = TrainSampler(EveryFilm(films, seed), batch_size, parts, rank, workers)
            sampler.epoch = epoch
            batches = list(sampler)
            assert len(batches) == len(sampler)
            assert {key[0] for batch in batches for key in batch} == {epoch}
            per_worker.append(batches)
        count = len(per_worker[0]) // parts
        return [
            sorted(
                key[1]
                for batches in per_worker
                for batch in batches[step * parts : (step + 1) * parts]
                for key in batch
            )
            for step in range(count)
        ]

    together = steps(parts, workers)
    assert together == steps(1, 1)
    assert all(len(step) == batch_size for step in together)
    assert {film for step in together for film in step} == set(range(films))


def test_epochs_differ_and_repeat() -> None:
    sampler = TrainSampler(EveryFilm(40, 0), 8, 1, 0, 1)
    sampler.epoch = 1
    first = list(sampler)
    assert first == list(sampler)
    sampler.epoch = 2
    assert [[key[1] for key in batch] for batch in sampler] != [[key[1] for key in batch] for batch in first]


@given(shapes, st.integers(0, 2), st.integers(0, 80))
def test_an_epoch_that_was_broken_off_goes_on_with_the_batches_that_are_left(
    shape: tuple[int, int, int, int], rank: int, first: int
) -> None:
    films, share, parts, workers = shape
    sampler = TrainSampler(EveryFilm(films, 0), share * parts * workers, parts, rank % workers, workers)
    whole = list(sampler)
    sampler.first_batch = first
    assert list(sampler) == whole[first:]
    assert len(sampler) == len(whole)


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 5))
def test_evaluation_sees_every_film_exactly_once(films: int, batch_size: int, workers: int) -> None:
    seen = [
        key[1]
        for rank in range(workers)
        for batch in EvaluationSampler(films, batch_size, rank, workers)
        for key in batch
    ]
    assert sorted(seen) == list(range(films))
