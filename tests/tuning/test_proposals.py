"""What a searcher proposes lies in its space, follows from seed and number, and of a grid is never proposed twice."""

from __future__ import annotations

import json
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_spaces import FINITE, KEYS, spaces

from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.runs.metric import Mode
from raycxr.tuning.proposals import Outcome, ParzenProposals, Proposals, RandomProposals, build_proposals
from raycxr.tuning.space import Parameters, Space, within

FINISHED, FAILED, STOPPED = Outcome(0.9, False, (0.5, 0.9)), Outcome(None, False, (0.4,)), Outcome(0.6, True, (0.6,))
UNDEFINED = Outcome(None, True, (float("nan"),))
CONDITIONAL = Space(
    {
        "model.name": ParameterSection(choice=["unet", "fpn", "classic_unet"]),
        "model.encoder": ParameterSection(choice=["resnet18", "resnet34"], when={"model.name": ["unet", "fpn"]}),
        "loss": ParameterSection(choice=[{"bce": 1.0, "dice": 1.0}, {"dice": 1.0}]),
        "optimizer.lr": ParameterSection(loguniform=(1e-4, 1e-2)),
        "train.batch_size": ParameterSection(randint=(2, 8)),
    }
)


def build(space: Space, mode: Mode = "max", begun: int = 0, **tune: Any) -> Proposals:
    return build_proposals(TuneSection.model_validate(tune), space, mode, begun)


def belongs(space: Space, chosen: Parameters) -> bool:
    """Whether there are just the keys whose conditions hold, with values of theirs."""
    keys = [key for key in space.parameters if space.applies(key, {k: v for k, v in chosen.items() if k != key})]
    return sorted(chosen) == sorted(keys) and all(within(space.parameters[key], chosen[key]) for key in chosen)


def text(chosen: Parameters) -> str:
    return json.dumps(chosen, sort_keys=True)


@settings(deadline=None)
@given(spaces(), st.integers(0, 1000), st.lists(st.integers(0, 200), min_size=1, max_size=8, unique=True))
def test_random_proposals_follow_from_seed_and_number_alone(space: Space, seed: int, numbers: list[int]) -> None:
    one, other = (build(space, searcher="random", seed=seed, trials=5) for _ in range(2))
    forward = {number: one.propose(number, {}) for number in numbers}
    one.tell(numbers[0], forward[numbers[0]], FINISHED)
    backward = {number: other.propose(number, {}) for number in reversed(numbers)}
    assert forward == backward
    assert all(belongs(space, chosen) for chosen in forward.values())


def test_random_proposals_differ_by_number_and_by_seed() -> None:
    draws = [text(build(CONDITIONAL, seed=seed).propose(n, {})) for seed in (0, 1) for n in range(20)]
    assert len(set(draws)) == len(draws)


def test_every_value_is_drawn_sometimes() -> None:
    for searcher in ("random", "tpe"):
        proposals = build(CONDITIONAL, searcher=searcher, trials=400)
        drawn = [proposals.propose(number, {}) for number in range(150)]
        assert {chosen["train.batch_size"] for chosen in drawn} == set(range(2, 9))
        networks = {(chosen["model.name"], chosen.get("model.encoder")) for chosen in drawn}
        encoders = {(name, encoder) for name in ("unet", "fpn") for encoder in ("resnet18", "resnet34")}
        assert networks == encoders | {("classic_unet", None)}
        # Evenly in the logarithm: about half of all rates below a thousandth.
        assert 0.3 < statistics.fmean(chosen["optimizer.lr"] < 1e-3 for chosen in drawn) < 0.7


def test_a_grid_among_random_keys_is_gone_through_evenly() -> None:
    space = Space({**CONDITIONAL.parameters, "train.seed": ParameterSection(grid=[0, 1, 2])})
    for searcher in ("random", "tpe"):
        proposals = build(space, searcher=searcher, trials=9)
        assert [proposals.propose(number, {})["train.seed"] for number in range(9)] == [0, 1, 2] * 3


def test_how_many_there_are() -> None:
    grid = Space({"a": ParameterSection(grid=[0, 1, 2]), "b": ParameterSection(uniform=(0, 1))})
    assert [build(CONDITIONAL).total, build(CONDITIONAL, trials=7).total] == [20, 7]
    assert [build(grid).total, build(grid, trials=7).total, build(grid, searcher="tpe").total] == [3, 7, 3]
    finite = Space({"a": ParameterSection(choice=[0, 1, 2]), "b": ParameterSection(randint=(1, 4))})
    assert [build(finite, searcher="grid", trials=trials).total for trials in (None, 5, 50)] == [12, 5, 12]


@settings(deadline=None)
@given(spaces(FINITE), st.integers(0, 40), st.randoms(use_true_random=False))
def test_a_grid_is_exhausted_exactly_also_by_a_sweep_that_goes_on(space: Space, cut: int, random: Any) -> None:
    proposals = build(space, searcher="grid")
    wanted = sorted(text(chosen) for chosen in space.combinations(FINITE))
    assert proposals.total == len(wanted)
    cut = min(cut, proposals.total)
    before = [proposals.propose(number, {}) for number in range(cut)]
    resumed = build(space, searcher="grid", begun=cut)
    known = list(enumerate(before))
    random.shuffle(known)
    for number, chosen in known:
        resumed.take_up(number, chosen)
        # Of those that were interrupted there is nothing to tell.
        if random.random() < 0.5:
            resumed.tell(number, chosen, FINISHED)
    after = [resumed.propose(number, {}) for number in range(cut, resumed.total)]
    assert sorted(text(chosen) for chosen in [*before, *after]) == wanted


def test_a_grid_begins_with_points_and_varies_the_last_key_fastest() -> None:
    space = Space({"a": ParameterSection(choice=[0, 1]), "b": ParameterSection(choice=["x", "y"])})
    proposals = build(space, searcher="grid")
    first = proposals.propose(0, {"a": 1, "b": "x"})
    assert first == {"a": 1, "b": "x"}
    # A candidate of another sweep was not tried in this one.
    proposals.tell(None, {"a": 0, "b": "x"}, FINISHED)
    rest = [proposals.propose(number, {}) for number in range(1, 4)]
    assert rest == [{"a": 0, "b": "x"}, {"a": 0, "b": "y"}, {"a": 1, "b": "y"}]


def test_a_point_of_a_grid_may_name_what_does_not_apply() -> None:
    space = Space({key: CONDITIONAL.parameters[key] for key in ("model.name", "model.encoder", "loss")})
    proposals = build(space, searcher="grid")
    point = {"model.name": "classic_unet", "model.encoder": "resnet34", "loss": {"dice": 1.0}}
    assert proposals.propose(0, point) == {"model.name": "classic_unet", "loss": {"dice": 1.0}}


def test_points_are_kept_and_the_rest_is_drawn() -> None:
    for searcher in ("random", "tpe"):
        proposals = build(CONDITIONAL, searcher=searcher)
        chosen = proposals.propose(0, {"model.name": "fpn", "loss": {"dice": 1.0}, "train.batch_size": 5})
        assert (chosen["model.name"], chosen["loss"], chosen["train.batch_size"]) == ("fpn", {"dice": 1.0}, 5)
        assert belongs(CONDITIONAL, chosen)


@settings(max_examples=15, deadline=None)
@given(spaces(), st.sampled_from(["max", "min"]), st.lists(st.sampled_from([0, 1, 2, 3, 4]), max_size=10))
def test_tpe_takes_every_kind_of_candidate(space: Space, mode: Mode, kinds: list[int]) -> None:
    proposals = build(space, mode, searcher="tpe", trials=8)
    drawn = RandomProposals(space, [{}], 8, 1)
    for number, kind in enumerate(kinds):
        outcome = (FINISHED, FAILED, STOPPED, UNDEFINED)[kind % 4]
        if kind == 4:
            # Of another sweep: with a key more, and perhaps a value that this space does not have.
            foreign = {**drawn.propose(number, {}), "model.form": "paper", KEYS[0]: "elsewhere"}
            proposals.tell(None, foreign, outcome)
        elif number % 2:
            # Of an earlier part of the sweep.
            earlier = drawn.propose(number, {})
            proposals.take_up(number, earlier)
            proposals.tell(number, earlier, outcome)
        chosen = proposals.propose(100 + number, {})
        assert belongs(space, chosen)
        proposals.tell(100 + number, chosen, outcome)
    assert isinstance(proposals, ParzenProposals)
    assert not proposals.open


def test_tpe_does_not_draw_again_what_it_drew_at_first() -> None:
    def begin(begun: int) -> Proposals:
        return build(CONDITIONAL, searcher="tpe", trials=40, begun=begun)

    first = begin(0)
    before = [first.propose(number, {}) for number in range(6)]
    again = begin(0)
    assert [again.propose(number, {}) for number in range(6)] == before
    resumed = begin(6)
    for number, chosen in enumerate(before):
        resumed.take_up(number, chosen)
        resumed.tell(number, chosen, FINISHED)
    after = [resumed.propose(number, {}) for number in range(6, 12)]
    assert not {chosen["optimizer.lr"] for chosen in before} & {chosen["optimizer.lr"] for chosen in after}
    # What it took up is what was proposed.
    assert isinstance(resumed, ParzenProposals)
    taken = [trial.params for trial in resumed.study.trials[:6]]
    assert [params["optimizer.lr"] for params in taken] == [chosen["optimizer.lr"] for chosen in before]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_tpe_goes_where_candidates_did_well(mode: Mode) -> None:
    proposals = build(Space({"optimizer.lr": ParameterSection(uniform=(0, 1))}), mode, searcher="tpe", trials=40)
    drawn = []
    for number in range(40):
        value = proposals.propose(number, {})["optimizer.lr"]
        drawn.append(value)
        # The best lies at 0.8; the worse half is stopped after an epoch, and some fail.
        loss = abs(value - 0.8)
        quality = 1 - loss if mode == "max" else loss
        outcome = Outcome(quality, loss > 0.4, (quality,)) if number % 9 else FAILED
        proposals.tell(number, {"optimizer.lr": value}, outcome)
    assert statistics.fmean(abs(value - 0.8) for value in drawn[-15:]) < 0.15
    assert np.mean(np.abs(np.array(drawn[:8]) - 0.8)) > 0.15


def test_tpe_learns_from_another_sweep() -> None:
    space = Space({"optimizer.lr": ParameterSection(uniform=(0, 1))})
    proposals = build(space, searcher="tpe", trials=40)
    for number in range(30):
        value = number / 30
        proposals.tell(None, {"optimizer.lr": value, "loss": {"dice": 1}}, Outcome(1 - abs(value - 0.3), False, ()))
    drawn = [proposals.propose(number, {})["optimizer.lr"] for number in range(8)]
    assert statistics.fmean(abs(value - 0.3) for value in drawn) < 0.2
