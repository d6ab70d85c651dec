"""Whatever order trials end in and wherever a sweep is cut, every trial is given once and every candidate told once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raycxr.config.load import load_config
from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.dataset.films import open_splits
from raycxr.runs.sweep import Trial
from raycxr.storage.location import Location
from raycxr.tuning.proposals import GridProposals, Outcome, Proposals, RandomProposals, build_proposals
from raycxr.tuning.queue import Order, TrialQueue, member_names, trial_config
from raycxr.tuning.space import Parameters, Space

SPACE = Space(
    {
        "model.name": ParameterSection(choice=["unet", "fpn"]),
        "model.encoder": ParameterSection(choice=["resnet18", "resnet34", "resnet50"], when={"model.name": "unet"}),
        "train.batch_size": ParameterSection(randint=(1, 3)),
    }
)
METRIC = "dice.mean"
Told = dict[int, list[tuple[Parameters, Outcome]]]


class TellingGrid(GridProposals):
    """Keeps what it is told."""

    def __init__(self, trials: int) -> None:
        super().__init__(SPACE, trials)
        self.told: Told = {}

    def tell(self, number: int | None, parameters: Parameters, outcome: Outcome) -> None:
        super().tell(number, parameters, outcome)
        self.told.setdefault(-1 if number is None else number, []).append((parameters, outcome))


class TellingRandom(RandomProposals):
    """Keeps what it is told."""

    def __init__(self, trials: int) -> None:
        super().__init__(SPACE, [{}], trials, 0)
        self.told: Told = {}

    def tell(self, number: int | None, parameters: Parameters, outcome: Outcome) -> None:
        self.told.setdefault(-1 if number is None else number, []).append((parameters, outcome))


@dataclass
class Simulation:
    """A sweep whose trials end as a seed says, each always the same way."""

    seed: int
    members: tuple[str | None, ...]
    slots: int
    ended: dict[str, tuple[Order, Outcome]] = field(default_factory=dict)
    running: list[Order] = field(default_factory=list)
    lefts: list[int] = field(default_factory=list)

    def outcome(self, order: Order) -> Outcome:
        draw = random.Random(f"{self.seed} {order.name}")
        value = round(draw.random(), 3)
        kind = draw.choice(["finished"] * 4 + ["failed"] + (["stopped"] if order.member == 0 else []))
        if kind == "failed":
            return Outcome(None, False, (0.1,))
        return Outcome(value, kind == "stopped", (value,))

    def run(self, queue: TrialQueue, steps: int, draw: random.Random) -> None:
        """Give and end trials in any order."""
        for _ in range(steps):
            self.lefts.append(queue.left)
            order = queue.next() if len(self.running) < self.slots and draw.random() < 0.7 else None
            if order is not None:
                assert order.name not in {*self.ended, *(other.name for other in self.running)}
                self.running.append(order)
            elif self.running:
                done = self.running.pop(draw.randrange(len(self.running)))
                self.ended[done.name] = (done, self.outcome(done))
                queue.ended(done, self.outcome(done))

    def records(self, lost: set[str]) -> list[Trial]:
        """What lies in storage; a trial that was given and did not begin has left nothing."""
        trials = [record(order, outcome) for order, outcome in self.ended.values()]
        trials += [record(order, None) for order in self.running if order.name not in lost]
        return sorted(trials, key=lambda trial: trial.location.name)


def record(order: Order, outcome: Outcome | None) -> Trial:
    """Trial that ended so, or is being trained."""
    status = "running" if outcome is None else "stopped" if outcome.stopped else "finished"
    if outcome is not None and outcome.value is None:
        status = "failed"
    curve = () if outcome is None else outcome.curve
    history = [{"validation": {"dice": {"mean": value}}, "seconds": 1.0} for value in curve]
    place = Location("/sweep") / order.name
    return Trial(place, order.candidate, order.member_name, order.parameters, status, None, 1, history)


def queue_of(proposals: Proposals, members: tuple[str | None, ...], trials: list[Trial]) -> TrialQueue:
    return TrialQueue(proposals, [], members, trials, METRIC, "max")


def check_whole(simulation: Simulation, told: Told, total: int) -> None:
    """Every candidate has all its trials, or the first alone where that ended early; and was told of once."""
    assert sorted(told) == list(range(total))
    for number in range(total):
        (parameters, outcome), *more = told[number]
        assert not more
        mine = [ended for ended in simulation.ended.values() if ended[0].candidate == number]
        first = next(result for order, result in mine if order.member == 0)
        assert all(order.parameters == parameters for order, _ in mine)
        if first.stopped or first.value is None:
            assert len(mine) == 1
            assert outcome == first
            continue
        assert Counter(order.member for order, _ in mine) == Counter(range(len(simulation.members)))
        values = [result.value for _, result in mine]
        known = [value for value in values if value is not None]
        assert outcome.stopped is False
        assert outcome.curve == first.curve
        assert outcome.value == (pytest.approx(sum(known) / len(known)) if len(known) == len(values) else None)


member_tuples = st.sampled_from([(None,), ("seed 0", "seed 1"), ("fold 1", "fold 2", "fold 3")])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), member_tuples, st.integers(1, 5), st.sampled_from([TellingGrid, TellingRandom]))
def test_every_trial_is_given_once_whatever_order_they_end_in(
    seed: int, members: tuple[str | None, ...], slots: int, kind: type[TellingGrid | TellingRandom]
) -> None:
    proposals = kind(8)
    queue = queue_of(proposals, members, [])
    simulation = Simulation(seed, members, slots)
    simulation.run(queue, 200, random.Random(seed))
    assert queue.next() is None
    assert queue.left == 0
    check_whole(simulation, proposals.told, 8)
    # What is told to the user is never too little.
    assert simulation.lefts[0] == 8 * len(members)
    assert all(before >= after for before, after in zip(simulation.lefts, simulation.lefts[1:], strict=False))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 10**6),
    member_tuples,
    st.integers(1, 5),
    st.integers(0, 60),
    st.sampled_from([TellingGrid, TellingRandom]),
)
def test_a_sweep_that_is_cut_and_resumed_trains_what_it_would_have_trained(
    seed: int, members: tuple[str | None, ...], slots: int, cut: int, kind: type[TellingGrid | TellingRandom]
) -> None:
    whole = Simulation(seed, members, slots)
    whole.run(queue_of(kind(8), members, []), 200, random.Random(seed))

    draw = random.Random(seed + 1)
    resumed = Simulation(seed, members, slots)
    first_proposals = kind(8)
    resumed.run(queue_of(first_proposals, members, []), cut, draw)
    lost = {order.name for order in resumed.running if draw.random() < 0.3}
    trials = resumed.records(lost)
    resumed.running = []
    proposals = kind(8)
    queue = queue_of(proposals, members, trials)
    assert queue.left + len(resumed.ended) <= 8 * len(members)
    resumed.run(queue, 200, draw)
    assert queue.left == 0
    check_whole(resumed, proposals.told, 8)
    if kind is TellingRandom:
        # Each follows from its number, so that the very same trials are trained.
        found = {name: order for name, (order, _) in resumed.ended.items()}
        assert found == {name: order for name, (order, _) in whole.ended.items()}
    else:
        chosen = [str(told[0][0]) for told in proposals.told.values()]
        assert len(set(chosen)) == 8


def test_the_further_trials_of_a_good_candidate_come_before_new_ones() -> None:
    queue = queue_of(TellingRandom(2), ("seed 0", "seed 1"), [])
    first, second = queue.next(), queue.next()
    assert first is not None
    assert second is not None
    assert (first.name, second.name, queue.next(), queue.left) == ("trial_000_seed_0", "trial_001_seed_0", None, 2)
    queue.ended(second, Outcome(0.5, True, (0.5,)))
    assert (queue.next(), queue.left) == (None, 1)
    queue.ended(first, Outcome(0.5, False, (0.5,)))
    further = queue.next()
    assert further is not None
    assert (further.name, further.parameters, queue.left) == ("trial_000_seed_1", first.parameters, 0)


def test_points_come_first_also_where_one_was_given_and_never_begun() -> None:
    points: list[dict[str, Any]] = [
        {"train.batch_size": 3},
        {"model.name": "fpn"},
        {"model.name": "unet", "model.encoder": "resnet50"},
    ]
    queue = TrialQueue(TellingRandom(4), points, (None,), [], METRIC, "max")
    orders = [order for order in (queue.next() for _ in range(5)) if order is not None]
    assert len(orders) == 4
    assert all(order.parameters.items() >= point.items() for order, point in zip(orders, points, strict=False))
    begun = [record(orders[0], None), record(orders[2], Outcome(0.5, False, (0.5,)))]
    resumed = TrialQueue(TellingRandom(4), points, (None,), begun, METRIC, "max")
    assert [resumed.next() for _ in range(4)] == [orders[0], orders[1], orders[3], None]


def test_fewer_trials_than_were_begun_leave_those_that_go_on() -> None:
    orders = [Order(number, 0, None, {"model.name": "fpn", "train.batch_size": 1}) for number in range(3)]
    queue = queue_of(TellingRandom(1), (None,), [record(order, None) for order in orders])
    assert queue.left == 3
    assert [queue.next() for _ in range(4)] == [*orders, None]


def test_names_and_configurations_of_the_trials_of_a_candidate(phantom_config: Path) -> None:
    def orders(*overrides: str) -> tuple[list[Order], list[Any]]:
        config = load_config(phantom_config, ["train.seed=5", *overrides])
        made = [
            Order(7, member, name, {"optimizer.lr": 0.5}) for member, name in enumerate(member_names(config))
        ]  # fmt: skip
        return made, [trial_config(config, order) for order in made]

    alone, (config,) = orders()
    assert [order.name for order in alone] == ["trial_007"]
    assert (config.train.name, config.train.seed, config.optimizer.lr) == ("trial_007", 5, 0.5)
    seeds, configs = orders("tune.seeds=2")
    assert [order.name for order in seeds] == ["trial_007_seed_5", "trial_007_seed_6"]
    assert [config.train.seed for config in configs] == [5, 6]
    split = "dataset.split={rule: fraction, train: 16, validation: 4, test: 4, validation_folds: 4}"
    folds, configs = orders("tune.folds=4", split)
    assert [order.name for order in folds] == [f"trial_007_fold_{fold}" for fold in range(1, 5)]
    assert {config.train.seed for config in configs} == {5}
    validated = [row["id"] for config in configs for row in open_splits(config).rows["validation"]]
    assert len(validated) == len(set(validated)) == 20
    assert Order(**folds[2].describe()) == folds[2]


def test_tpe_is_told_of_those_that_go_on_and_of_those_that_ended() -> None:
    section = TuneSection.model_validate({"searcher": "tpe", "trials": 6})
    queue = queue_of(build_proposals(section, SPACE, "max", 0), (None,), [])
    orders = [order for order in (queue.next() for _ in range(4)) if order is not None]
    trials = [record(order, Outcome(0.5, False, (0.5,)) if order.candidate < 2 else None) for order in orders]
    resumed = queue_of(build_proposals(section, SPACE, "max", 4), (None,), trials)
    assert [resumed.next() for _ in range(2)] == orders[2:]
    resumed.ended(orders[2], Outcome(None, False, ()))
    resumed.ended(orders[3], Outcome(0.4, True, (0.4,)))
    assert resumed.left == 2
