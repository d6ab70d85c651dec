"""Which trials end early: the same ones whether a sweep ran through or was cut anywhere and resumed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raycxr.config.sections import Config
from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.errors import ConfigurationError
from raycxr.runs.metric import Mode
from raycxr.tuning.queue import Order
from raycxr.tuning.scheduler import FirstMembersScheduler, Population, build_scheduler
from raycxr.tuning.space import Space, build_space, within

SPACE = Space({"optimizer.lr": ParameterSection(uniform=(0, 1))})
NAN = float("nan")


@dataclass(eq=False)
class Running:
    """A trial as far as Ray Tune shows it to a scheduler."""

    trial_id: str
    config: dict[str, Any]


def trial(number: int, member: int = 0, name: str | None = None) -> Running:
    order = Order(number, member, name, {"optimizer.lr": 0.5})
    return Running(f"id-{random.random()}", order.describe())


def median(mode: Mode = "max", earlier: Mapping[str, Sequence[float]] | None = None, **tune: Any) -> Any:
    section = TuneSection.model_validate({"scheduler": "median", "grace_epochs": 1, **tune})
    return FirstMembersScheduler(build_scheduler(section, SPACE, mode), earlier or {})


def report(scheduler: Any, of: Running, curve: Sequence[float], epochs: int, mode: Mode = "max") -> str:
    """What a scheduler says to the last epoch of a curve, told as a trial tells it."""
    known = [value for value in curve if value == value]
    best = {"value": max(known) if mode == "max" else min(known)} if known else {}
    return str(scheduler.on_trial_result(None, of, {"epoch": len(curve), "last": len(curve) == epochs, **best}))


@dataclass
class Simulation:
    """Trials in slots, of which any is the next to end an epoch."""

    curves: Sequence[Sequence[float]]
    slots: int
    mode: Mode
    tune: dict[str, Any]
    draw: random.Random
    reached: dict[int, int] = field(default_factory=dict)
    stopped: dict[int, int] = field(default_factory=dict)
    running: list[int] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        return len(self.curves[0])

    def run(self, steps: int) -> None:
        """Begin or resume with what is in storage, and end so many epochs."""
        earlier = {f"trial_{number:03d}": self.curves[number][:epoch] for number, epoch in self.reached.items()}
        scheduler = median(self.mode, earlier, **self.tune)
        trials = {number: trial(number) for number in self.running}
        for known in trials.values():
            scheduler.on_trial_add(None, known)
        for _ in range(steps):
            while len(self.running) < self.slots and len(self.reached) < len(self.curves):
                number = len(self.reached)
                self.running.append(number)
                self.reached[number] = 0
                trials[number] = trial(number)
                scheduler.on_trial_add(None, trials[number])
            if not self.running:
                return
            number = self.running[self.draw.randrange(len(self.running))]
            self.reached[number] += 1
            epoch = self.reached[number]
            decision = report(scheduler, trials[number], self.curves[number][:epoch], self.epochs, self.mode)
            if decision == TrialScheduler.STOP:
                self.stopped[number] = epoch
            if decision == TrialScheduler.STOP or epoch == self.epochs:
                self.running.remove(number)
                scheduler.on_trial_complete(None, trials[number], {"epoch": epoch})


values = st.one_of(st.integers(0, 9).map(float), st.just(NAN))
curve_lists = st.integers(1, 9).flatmap(
    lambda epochs: st.lists(st.lists(values, min_size=epochs, max_size=epochs), min_size=1, max_size=12)
)
tunes = st.sampled_from([{"grace_epochs": 1}, {"grace_epochs": 3}])


@settings(deadline=None)
@given(curve_lists, tunes, st.sampled_from(["max", "min"]), st.integers(1, 4), st.integers(0, 50), st.integers(0, 99))
def test_a_sweep_that_was_cut_stops_the_same_trials(
    curves: list[list[float]], tune: dict[str, Any], mode: Mode, slots: int, cut: int, seed: int
) -> None:
    whole = Simulation(curves, slots, mode, tune, random.Random(seed))
    whole.run(500)
    resumed = Simulation(curves, slots, mode, tune, random.Random(seed))
    resumed.run(cut)
    resumed.run(500)
    assert (resumed.stopped, resumed.reached) == (whole.stopped, whole.reached)
    assert set(whole.reached) == set(range(len(curves)))
    # No trial is stopped within its grace, nor when nothing of it is left.
    assert all(tune["grace_epochs"] <= epoch < len(curves[0]) for epoch in whole.stopped.values())


def test_those_below_the_median_are_stopped() -> None:
    curves = [[0.1 * (9 - number)] * 8 for number in range(9)]
    simulation = Simulation(curves, 1, "max", {}, random.Random(0))
    simulation.run(500)
    # Each is worse than all before it; the first three have too few to be compared with.
    assert simulation.stopped == dict.fromkeys(range(3, 9), 1)
    other = Simulation(curves, 1, "min", {}, random.Random(0))
    other.run(500)
    assert other.stopped == {}


def test_a_trial_is_not_stopped_after_its_last_epoch() -> None:
    scheduler = median(earlier={f"trial_{number:03d}": [0.9] * 4 for number in range(4)})
    bad, short = trial(4), trial(5)
    for other in (bad, short):
        scheduler.on_trial_add(None, other)
    assert scheduler.on_trial_result(None, bad, {"epoch": 4, "value": 0.1, "last": True}) == TrialScheduler.CONTINUE
    assert report(scheduler, short, [0.1], 1) == TrialScheduler.CONTINUE
    later = trial(6)
    scheduler.on_trial_add(None, later)
    assert report(scheduler, later, [0.2], 4) == TrialScheduler.STOP


def test_only_the_first_member_of_a_candidate_is_judged_and_compared() -> None:
    scheduler = median(earlier={f"trial_{number:03d}": [0.5] * 8 for number in range(4)})
    first, second = trial(4, 0, "seed 0"), trial(4, 1, "seed 1")
    for member in (first, second):
        scheduler.on_trial_add(None, member)
    assert report(scheduler, first, [0.5], 8) == TrialScheduler.CONTINUE
    for epoch in range(1, 9):
        assert report(scheduler, second, [0.0] * epoch, 8) == TrialScheduler.CONTINUE
    best = [trial(number, 1, "seed 1") for number in range(5, 15)]
    for member in best:
        scheduler.on_trial_add(None, member)
        assert report(scheduler, member, [0.9], 8) == TrialScheduler.CONTINUE
    # 0.9 of second members is nothing to compare with.
    other = trial(15, 0, "seed 0")
    scheduler.on_trial_add(None, other)
    assert report(scheduler, other, [0.6], 8) == TrialScheduler.CONTINUE
    for member in (first, second, *best, other):
        scheduler.on_trial_complete(None, member, {})
        scheduler.on_trial_error(None, member)


@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_nothing_is_stopped_from_outside(scheduler: str) -> None:
    """Trials of asha rest by themselves."""
    assert type(build_scheduler(TuneSection.model_validate({"scheduler": scheduler}), SPACE, "max")) is FIFOScheduler


def test_the_median_rule_takes_curves_that_it_would_have_stopped() -> None:
    earlier = {f"trial_{number:03d}": [0.6, 0.7, 0.8] for number in range(4)} | {"trial_004": [0.1, 0.2, 0.95]}
    scheduler = median(earlier=earlier)
    good, bad, again = trial(5), trial(6), trial(4)
    for known in (good, bad, again):
        scheduler.on_trial_add(None, known)
    assert report(scheduler, good, [0.65], 8) == TrialScheduler.CONTINUE
    assert report(scheduler, bad, [0.55], 8) == TrialScheduler.STOP
    assert report(scheduler, again, [0.1, 0.2, 0.95, 0.96], 8) == TrialScheduler.CONTINUE


def population(space: Mapping[str, Any], **tune: Any) -> Any:
    section = TuneSection.model_validate({"scheduler": "pbt", "space": space, **tune})
    return build_scheduler(section, build_space(section, Config()), "max")


@pytest.mark.parametrize(
    ("space", "part"),
    [
        ({"model.name": ["unet", "fpn"]}, "cannot change model.name while a trial runs"),
        ({"train.batch_size": [4, 8]}, "cannot change train.batch_size while a trial runs"),
        ({"optimizer.name": ["adamw", "sgd"]}, "cannot change optimizer.name while a trial runs"),
        ({"schedule.name": ["cosine", "plateau"]}, "cannot change schedule.name while a trial runs"),
        ({"optimizer": {"choice": [{"name": "adamw"}, {"name": "sgd"}]}}, "cannot change optimizer while a trial runs"),
        (
            {
                "augment.noise": [0.0, 0.5],
                "optimizer.lr": {"uniform": [0.1, 0.9], "when": {"augment.noise": 0.5}},
            },
            "takes no condition, as of optimizer.lr",
        ),
    ],
)
def test_a_population_changes_only_what_can_change(space: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        population(space)
    assert part in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_a_population_stays_within_its_space(seed: int) -> None:
    space: dict[str, Any] = {
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
        "loss": [{"dice": 1}, {"dice": 1, "bce": 1}],
        "augment.noise": {"uniform": [0.0, 0.9]},
        "schedule.warmup_epochs": {"randint": [0, 3]},
    }
    scheduler = population(space)
    known = build_space(TuneSection.model_validate({"space": space}), Config())
    random.seed(seed)
    parameters = {
        "optimizer.lr": random.choice([1e-4, 9.9e-3, 1e-2]),
        "loss": random.choice(space["loss"]),
        "augment.noise": random.choice([0.0, 0.5, 0.9]),
        "schedule.warmup_epochs": random.choice([0, 1, 3]),
    }
    donor = Running("donor", Order(3, 0, None, parameters).describe())
    own = Running("own", Order(5, 0, None, dict(parameters)).describe())
    config, _ = scheduler._get_new_config(own, donor)
    order = Order(**config)
    assert (order.candidate, order.name) == (5, "trial_005")
    assert order.parameters.keys() == parameters.keys()
    assert all(within(known.parameters[key], value) for key, value in order.parameters.items())
    assert donor.config["parameters"] == parameters


def test_a_population_that_goes_on_begins_its_exchanges_anew() -> None:
    inner = population({"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}, grace_epochs=1)
    assert isinstance(inner, Population)
    scheduler = FirstMembersScheduler(inner, {"trial_000": [0.1, 0.2, 0.3], "trial_001": [0.4]})
    going_on = RayTrial("made", stub=True, config=trial(1).config)
    scheduler.on_trial_add(None, going_on)
    assert scheduler.on_trial_result(None, going_on, {"epoch": 2}) == TrialScheduler.CONTINUE
    assert list(inner._trial_state) == [going_on]
