"""Which parameters a sweep tries next: at random, every combination in order, or where earlier candidates did well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.runs.metric import Mode
from raycxr.tuning.space import Parameters, Space, bounds, random_draw, within

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

DEFAULT_TRIALS = 20


@dataclass(frozen=True)
class Outcome:
    """How a candidate ended.

    `value` is its best one, None where it failed; `stopped` whether the scheduler ended it early; `curve` its value
    after each epoch.
    """

    value: float | None
    stopped: bool
    curve: tuple[float, ...]


class Proposals(Protocol):
    """Parameters of candidates, by their numbers counted from 0."""

    total: int

    def propose(self, number: int, given: Mapping[str, Any]) -> Parameters:
        """Parameters of a new candidate, of which some may be given."""

    def take_up(self, number: int, parameters: Parameters) -> None:
        """Know of a candidate that an earlier call of the sweep has proposed."""

    def tell(self, number: int | None, parameters: Parameters, outcome: Outcome) -> None:
        """Learn how a candidate ended; one of another sweep has no number."""


def build_proposals(section: TuneSection, space: Space, mode: Mode, begun: int) -> Proposals:
    """Proposals of `tune.searcher`, of which so many were taken up before."""
    if section.searcher == "grid":
        return GridProposals(space, section.trials)
    fixed = list(space.combinations(("grid",)))
    total = section.trials or (len(fixed) if fixed != [{}] else DEFAULT_TRIALS)
    if section.searcher == "tpe":
        return ParzenProposals(space, fixed, total, (section.seed, begun), mode)
    return RandomProposals(space, fixed, total, section.seed)


class GridProposals:
    """Every combination, the last parameter of the space varied fastest."""

    def __init__(self, space: Space, trials: int | None) -> None:
        self.combinations = list(space.combinations(("choice", "grid", "randint")))
        self.total = min(trials or len(self.combinations), len(self.combinations))
        self.tried: list[Parameters] = []

    def propose(self, number: int, given: Mapping[str, Any]) -> Parameters:
        """Return the first combination that was not proposed, of those that agree with what is given."""
        fresh = [chosen for chosen in self.combinations if chosen not in self.tried]
        agreeing = [
            # A key that does not apply there is left out.
            chosen
            for chosen in fresh
            if all(given[key] == value for key, value in chosen.items() if key in given)
        ]
        chosen = (agreeing or fresh)[0]
        self.tried.append(chosen)
        return chosen

    def take_up(self, number: int, parameters: Parameters) -> None:
        """Remember what was proposed."""
        self.tried.append(parameters)

    def tell(self, number: int | None, parameters: Parameters, outcome: Outcome) -> None:
        """Nothing to learn."""


class RandomProposals:
    """Independent draws, each of which follows from the seed and its number alone."""

    def __init__(self, space: Space, fixed: Sequence[Parameters], total: int, seed: int) -> None:
        self.space, self.fixed, self.total, self.seed = space, fixed, total, seed

    def propose(self, number: int, given: Mapping[str, Any]) -> Parameters:
        """Draw what is not given, beside the next combination of the parameters of kind `grid`."""
        draw = random_draw(np.random.default_rng([self.seed, number]))
        return self.space.draw(draw, {**self.fixed[number % len(self.fixed)], **given})

    def take_up(self, number: int, parameters: Parameters) -> None:
        """Nothing to remember: a draw follows from its number."""

    def tell(self, number: int | None, parameters: Parameters, outcome: Outcome) -> None:
        """Nothing to learn."""


class ParzenProposals:
    """Tree of Parzen estimators (Bergstra 2011, NeurIPS 24), as Optuna has it, for parameters that depend on others."""

    def __init__(
        self, space: Space, fixed: Sequence[Parameters], total: int, seed: tuple[int, int], mode: Mode
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.fixed, self.total = space, fixed, total
        sampler = optuna.samplers.TPESampler(
            # A sweep that goes on does not draw what it drew at first.
            seed=int(np.random.default_rng(seed).integers(2**31)),
            # Trials that still run count as bad ones, so that several at a time do not all go to one place.
            constant_liar=True,
            n_startup_trials=min(10, max(4, total // 4)),
        )
        self.study = optuna.create_study(sampler=sampler, direction="maximize" if mode == "max" else "minimize")
        self.open: dict[int, Trial] = {}

    def propose(self, number: int, given: Mapping[str, Any]) -> Parameters:
        """Ask for what is not given, beside the next combination of the parameters of kind `grid`."""
        return self._ask(number, {**self.fixed[number % len(self.fixed)], **given})

    def take_up(self, number: int, parameters: Parameters) -> None:
        """Let the study know of a candidate as if it had proposed it."""
        self._ask(number, parameters)

    def _ask(self, number: int, given: Mapping[str, Any]) -> Parameters:
        self.study.enqueue_trial({key: _coded(self.space.parameters[key], value) for key, value in given.items()})
        trial = self.open[number] = self.study.ask()
        return self.space.draw(lambda key, parameter: _suggest(trial, key, parameter), {})

    def tell(self, number: int | None, parameters: Parameters, outcome: Outcome) -> None:
        """Tell the study, also of candidates of another sweep."""
        from optuna.trial import TrialState

        if number is None:
            self.study.add_trial(self._finished(parameters, outcome))
            return
        opened = self.open.pop(number, None)
        if opened is None:
            # One that has rested, and went on.
            self.study.add_trial(self._finished(parameters, outcome))
        elif outcome.value is None:
            self.study.tell(opened, state=TrialState.FAIL)
        else:
            for epoch, value in enumerate(outcome.curve, 1):
                opened.report(value, epoch)
            self.study.tell(opened, None if outcome.stopped else outcome.value,
                            state=TrialState.PRUNED if outcome.stopped else TrialState.COMPLETE)  # fmt: skip

    def _finished(self, parameters: Parameters, outcome: Outcome) -> FrozenTrial:
        """Trial as the study keeps it; parameters outside this space are left out."""
        from optuna.trial import TrialState, create_trial

        shared = {
            key: value
            for key, value in parameters.items()
            if key in self.space.parameters and within(self.space.parameters[key], value)
        }
        state = TrialState.PRUNED if outcome.stopped else TrialState.COMPLETE
        return create_trial(
            state=TrialState.FAIL if outcome.value is None else state,
            params={key: _coded(self.space.parameters[key], value) for key, value in shared.items()},
            distributions={key: _distribution(self.space.parameters[key]) for key in shared},
            value=None if outcome.stopped else outcome.value,
            intermediate_values=dict(enumerate(outcome.curve, 1)),
        )


def _suggest(trial: Trial, key: str, parameter: ParameterSection) -> Any:
    if parameter.values is not None:
        return parameter.values[trial.suggest_categorical(key, range(len(parameter.values)))]
    if parameter.randint is not None:
        return trial.suggest_int(key, *parameter.randint)
    low, high = bounds(parameter)
    return trial.suggest_float(key, low, high, log=parameter.loguniform is not None)


def _coded(parameter: ParameterSection, value: Any) -> Any:
    """Value as Optuna keeps it: of a choice its place, as a value may be a mapping."""
    return value if parameter.values is None else parameter.values.index(value)


def _distribution(parameter: ParameterSection) -> BaseDistribution:
    from optuna import distributions

    if parameter.values is not None:
        return distributions.CategoricalDistribution(range(len(parameter.values)))
    if parameter.randint is not None:
        return distributions.IntDistribution(*parameter.randint)
    low, high = bounds(parameter)
    return distributions.FloatDistribution(low, high, log=parameter.loguniform is not None)
