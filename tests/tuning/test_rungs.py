"""Successive halving: who rests, who goes on, and that it is the same wherever a sweep is cut."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.runs.metric import Mode
from raycxr.runs.sweep import Trial
from raycxr.storage.location import Location
from raycxr.tuning.proposals import Outcome, ParzenProposals, RandomProposals
from raycxr.tuning.queue import Order, TrialQueue
from raycxr.tuning.rungs import Rungs, build_rungs
from raycxr.tuning.space import Space

SPACE = Space({"optimizer.lr": ParameterSection(uniform=(0, 1))})
METRIC = "dice.mean"
NAN = float("nan")


@pytest.mark.parametrize(
    ("grace", "reduction", "epochs", "places"),
    [
        (1, 3, 10, (1, 3, 9)), (2, 3, 10, (2, 6)), (2, 3, 6, (2,)), (2, 2.5, 30, (2, 5, 12)), (1, 1.2, 4, (1, 2, 3)),
    ],
)  # fmt: skip
def test_rungs_are_so_many_times_apart(grace: int, reduction: float, epochs: int, places: tuple[int, ...]) -> None:
    section = TuneSection(grace_epochs=grace, reduction=reduction)
    rungs = build_rungs(section, epochs, 9, "max")
    assert rungs is not None
    assert rungs.places == places


@pytest.mark.parametrize("tune", [{"scheduler": "none"}, {"scheduler": "median"}, {"grace_epochs": 10}])
def test_no_rung_where_nothing_can_be_saved(tune: dict[str, object]) -> None:
    assert build_rungs(TuneSection.model_validate(tune), 10, 9, "max") is None


@dataclass
class Sweep:
    """Candidates with known curves, in slots of which any is the next to train an epoch."""

    curves: Sequence[Sequence[float]]
    tune: TuneSection
    slots: int = 1
    mode: Mode = "max"
    failing: frozenset[int] = frozenset()
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    reached: dict[int, int] = field(default_factory=dict)
    status: dict[int, str] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)

    @property
    def epochs(self) -> int:
        return len(self.curves[0])

    def run(self, steps: int) -> None:
        """Begin, or resume with what is in storage, and take so many steps."""
        proposals = RandomProposals(SPACE, [{}], len(self.curves), 0)
        rungs = build_rungs(self.tune, self.epochs, len(self.curves), self.mode)
        queue = TrialQueue(proposals, [], (None,), self._trials(), METRIC, self.mode, rungs)
        running: list[Order] = []
        for _ in range(steps):
            while len(running) < self.slots and (order := queue.next()) is not None:
                # Its weights are still there, and nobody else trains it.
                assert order.candidate not in self.given_up
                assert order.candidate not in {other.candidate for other in running}
                self.status[order.candidate] = "running"
                self.reached.setdefault(order.candidate, 0)
                running.append(order)
            if not running:
                assert queue.left == 0
                return
            order = running[self.draw.randrange(len(running))]
            ended = self._step(order)
            if ended is not None:
                running.remove(order)
                self.status[order.candidate] = ended
                queue.ended(order, self._outcome(order.candidate))
            resting = {number for number, status in self.status.items() if status == "stopped"}
            if not self.failing:
                self.given_up |= {number for number in resting if not queue.may_go_on(number)}

    def _step(self, order: Order) -> str | None:
        """Train one epoch, as a trial does; returns how it ended, if it did."""
        number, reached = order.candidate, self.reached[order.candidate]
        if reached == self.epochs:
            return "finished"
        if reached == order.until:
            return "stopped"
        if number in self.failing and reached == self.epochs // 2:
            return "failed"
        self.reached[number] += 1
        return None

    def _outcome(self, number: int) -> Outcome:
        curve = self.curves[number][: self.reached[number]]
        known = [value for value in curve if value == value]
        best = (max(known) if self.mode == "max" else min(known)) if known else None
        status = self.status[number]
        return Outcome(None if status == "failed" else best, status == "stopped", tuple(curve))

    def _trials(self) -> list[Trial]:
        trials = []
        for number, status in sorted(self.status.items()):
            curve = self.curves[number][: self.reached[number]]
            history = [{"validation": {"dice": {"mean": value}}, "seconds": 1.0} for value in curve]
            place = Location("/sweep") / f"trial_{number:03d}"
            trials.append(Trial(place, number, None, {"optimizer.lr": 0.5}, status, None, self.epochs, history))
        return trials


values = st.one_of(st.integers(0, 9).map(float), st.just(NAN))
curve_lists = st.integers(1, 12).flatmap(
    lambda epochs: st.lists(st.lists(values, min_size=epochs, max_size=epochs), min_size=1, max_size=14)
)
tunes = st.builds(TuneSection, grace_epochs=st.integers(1, 4), reduction=st.sampled_from([1.5, 2, 3]))
modes = st.sampled_from(["max", "min"])


@settings(deadline=None)
@given(curve_lists, tunes, st.integers(1, 4), modes, st.sets(st.integers(0, 13)), st.integers(0, 99))
def test_whatever_happens_a_sweep_ends_with_one_trained_in_full(
    curves: list[list[float]], tune: TuneSection, slots: int, mode: Mode, failing: set[int], seed: int
) -> None:
    sweep = Sweep(curves, tune, slots, mode, frozenset(failing), random.Random(seed))
    sweep.run(1000)
    assert set(sweep.status) == set(range(len(curves)))
    assert set(sweep.status.values()) <= {"finished", "stopped", "failed"}
    rungs = build_rungs(tune, sweep.epochs, 1, mode)
    stops = set() if rungs is None else set(rungs.places)
    assert {sweep.reached[number] for number, status in sweep.status.items() if status == "stopped"} <= stops
    if "finished" not in sweep.status.values():
        # Only where each has failed, or has no value that anything could be judged by.
        assert all(all(value != value for value in curves[number][: sweep.reached[number]])
                   for number, status in sweep.status.items() if status == "stopped")  # fmt: skip


@settings(deadline=None)
@given(st.permutations(range(11)), tunes, st.integers(1, 4), modes, st.integers(0, 99))
def test_the_one_that_always_leads_is_trained_in_full(
    order: list[int], tune: TuneSection, slots: int, mode: Mode, seed: int
) -> None:
    curves = [[value + epoch / 100 for epoch in range(9)] for value in order]
    sweep = Sweep(curves, tune, slots, mode, draw=random.Random(seed))
    sweep.run(1000)
    assert sweep.status[order.index(max(order) if mode == "max" else min(order))] == "finished"


@settings(deadline=None)
@given(curve_lists, tunes, modes, st.sets(st.integers(0, 13)), st.integers(0, 150))
def test_a_sweep_that_was_cut_trains_the_same(
    curves: list[list[float]], tune: TuneSection, mode: Mode, failing: set[int], cut: int
) -> None:
    whole = Sweep(curves, tune, 1, mode, frozenset(failing))
    whole.run(1000)
    resumed = Sweep(curves, tune, 1, mode, frozenset(failing))
    resumed.run(cut)
    resumed.run(1000)
    assert (resumed.reached, resumed.status) == (whole.reached, whole.status)


@settings(deadline=None)
@given(st.permutations(range(9)), tunes, st.integers(2, 4), st.integers(0, 40), st.integers(0, 99))
def test_a_sweep_of_several_at_once_that_was_cut_ends_whole(
    order: list[int], tune: TuneSection, slots: int, cut: int, seed: int
) -> None:
    """Also where it was cut between the last epoch before a rung and the word that the candidate rests."""
    curves = [[value + epoch / 100 for epoch in range(9)] for value in order]
    sweep = Sweep(curves, tune, slots, draw=random.Random(seed))
    sweep.run(cut)
    sweep.run(1000)
    assert set(sweep.status) == set(range(len(curves)))
    assert sweep.status[order.index(max(order))] == "finished"


@settings(deadline=None)
@given(st.permutations(range(9)), st.integers(1, 4), st.integers(0, 99))
def test_nine_candidates_take_about_half_of_the_epochs_at_most(order: list[int], slots: int, seed: int) -> None:
    curves = [[value + epoch / 100 for epoch in range(10)] for value in order]
    sweep = Sweep(curves, TuneSection(grace_epochs=1, reduction=3), slots, draw=random.Random(seed))
    sweep.run(1000)
    # 56 where each one is better than all before it, so that every third one goes on in vain.
    assert sum(sweep.reached.values()) <= 56
    if sorted(order, reverse=True) == order:
        assert sum(sweep.reached.values()) == 9 + 3 * 2 + 6 + 1


def test_who_goes_on_is_told_twice_and_tpe_takes_it() -> None:
    proposals = ParzenProposals(SPACE, [{}], 3, (0, 0), "max")
    queue = TrialQueue(proposals, [], (None,), [], METRIC, "max", Rungs([1], 4, 3, 3, "max"))
    orders = [order for order in (queue.next() for _ in range(3)) if order is not None]
    assert [order.until for order in orders] == [1, 1, 1]
    for order, value in zip(orders, (0.3, 0.7, 0.5), strict=True):
        queue.ended(order, Outcome(value, True, (value,)))
    further = queue.next()
    assert further == Order(1, 0, None, orders[1].parameters, None)
    queue.ended(further, Outcome(0.9, False, (0.7, 0.8, 0.9, 0.9)))
    assert (queue.next(), queue.left) == (None, 0)
    assert proposals.study.best_params == orders[1].parameters
    assert proposals.study.best_value == 0.9


def test_the_other_seeds_follow_one_that_was_trained_in_full() -> None:
    proposals = RandomProposals(SPACE, [{}], 3, 0)
    queue = TrialQueue(proposals, [], ("seed 0", "seed 1"), [], METRIC, "max", Rungs([1], 4, 3, 3, "max"))
    for value in (0.3, 0.7, 0.5):
        order = queue.next()
        assert order is not None
        queue.ended(order, Outcome(value, True, (value,)))
    first = queue.next()
    assert first is not None
    assert (first.name, queue.next()) == ("trial_001_seed_0", None)
    queue.ended(first, Outcome(0.9, False, (0.7, 0.8, 0.9, 0.9)))
    second = queue.next()
    assert second is not None
    assert (second.name, second.until) == ("trial_001_seed_1", None)
    queue.ended(second, Outcome(0.2, False, (0.2,) * 4))
    assert (queue.next(), queue.left) == (None, 0)


def test_one_without_weights_does_not_go_on() -> None:
    """More trials are asked for than at first, when the weights of those that rested were taken away."""
    records = [
        Trial(
            Location("/sweep") / f"trial_{number:03d}", number, None, {"optimizer.lr": 0.5}, "stopped", None, 4,
            [{"validation": {"dice": {"mean": value}}, "seconds": 1.0}],
        )
        for number, value in enumerate((0.3, 0.7, 0.5))
    ]  # fmt: skip

    def first(bare: set[str]) -> Order | None:
        rungs = Rungs([1], 4, 3, 4, "max")
        return TrialQueue(RandomProposals(SPACE, [{}], 4, 0), [], (None,), records, METRIC, "max", rungs, bare).next()

    best, fresh = first(set()), first({"trial_001"})
    assert best is not None
    assert fresh is not None
    assert (best.name, fresh.name) == ("trial_001", "trial_003")


def test_one_that_was_chosen_keeps_its_weights_until_its_process_is_there() -> None:
    """Ray Tune asks for a trial before there is room for it."""
    queue = TrialQueue(RandomProposals(SPACE, [{}], 4, 0), [], (None,), [], METRIC, "max", Rungs([1], 4, 3, 4, "max"))
    for value in (0.3, 0.7, 0.5):
        order = queue.next()
        assert order is not None
        queue.ended(order, Outcome(value, True, (value,)))
    chosen = queue.next()
    assert chosen is not None
    assert (chosen.candidate, queue.may_go_on(1), queue.may_go_on(0)) == (1, True, False)
    queue.ended(chosen, Outcome(0.9, False, (0.7, 0.8, 0.9, 0.9)))
    assert not queue.may_go_on(1)
