"""What a sweep trains next: new candidates, the further seeds or folds of good ones, and what was interrupted."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raycxr.config.sections import Config
from raycxr.runs.metric import Mode
from raycxr.runs.sweep import ENDED, Trial, candidates
from raycxr.tuning.proposals import Outcome, Proposals
from raycxr.tuning.rungs import Rungs
from raycxr.tuning.space import Parameters, with_parameters


@dataclass(frozen=True)
class Order:
    """A trial to be trained.

    `member` is its place among the seeds or folds of its candidate, counted from 0; `until` the epoch after which it
    rests, None where it is trained to its end.
    """

    candidate: int
    member: int
    member_name: str | None
    parameters: Parameters
    until: int | None = None

    @property
    def name(self) -> str:
        """Name of its run within the sweep."""
        name = f"trial_{self.candidate:03d}"
        return name if self.member_name is None else f"{name}_{self.member_name.replace(' ', '_')}"

    @property
    def record(self) -> dict[str, Any]:
        """What the run's record says of it."""
        return {"candidate": self.candidate, "member": self.member_name, "parameters": self.parameters}

    def describe(self) -> dict[str, Any]:
        """Plain values that `Order(**values)` is made from again."""
        return {
            "candidate": self.candidate,
            "member": self.member,
            "member_name": self.member_name,
            "parameters": self.parameters,
            "until": self.until,
        }


@dataclass
class _Candidate:
    parameters: Parameters
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def goes_on(self) -> bool:
        """Whether the first member was trained in full, and the others follow."""
        first = self.outcomes.get(0)
        return first is not None and not first.stopped and first.value is not None


def member_names(config: Config) -> tuple[str | None, ...]:
    """Names of the trials of each candidate: `seed 0`, `seed 1`, or `fold 1`, `fold 2`, or only None."""
    tune, seed = config.tune, config.train.seed
    if tune.folds is not None:
        return tuple(f"fold {fold}" for fold in range(1, tune.folds + 1))
    return tuple(f"seed {seed + number}" for number in range(tune.seeds)) if tune.seeds > 1 else (None,)


def trial_config(base: Config, order: Order) -> Config:
    """Configuration of one trial.

    Parameters
    ----------
    base : Config
        With `dataset.split` where candidates are divided into folds.
    order : Order
    """
    config = with_parameters(base, order.parameters)
    train = config.train.model_copy(update={"name": order.name})
    dataset = config.dataset
    if base.tune.folds is not None:
        assert dataset.split is not None
        folds = {"validation_folds": base.tune.folds, "validation_fold": order.member + 1}
        dataset = dataset.model_copy(update={"split": dataset.split.model_copy(update=folds)})
    elif base.tune.seeds > 1:
        train = train.model_copy(update={"seed": base.train.seed + order.member})
    return config.model_copy(update={"train": train, "dataset": dataset})


class TrialQueue:
    """Orders of a sweep, in which each is given once, or once for each rung that it rests at.

    The first seed or fold of a candidate is trained first. Where it is stopped early or fails the others are spared.

    Parameters
    ----------
    proposals : Proposals
    points : sequence of mappings
        Parameters to try first, each perhaps of some keys only.
    members : sequence
        Names of the trials of each candidate.
    trials : sequence of Trial
        Those that an interrupted sweep has begun already.
    metric, mode
        What is searched for.
    rungs : Rungs, optional
        Where candidates rest until it is known which of them go on.
    bare : collection of str
        Names of trials that have rested and cannot go on.
    """

    def __init__(
        self,
        proposals: Proposals,
        points: Sequence[Mapping[str, Any]],
        members: Sequence[str | None],
        trials: Sequence[Trial],
        metric: str,
        mode: Mode,
        rungs: Rungs | None = None,
        bare: Collection[str] = (),
    ) -> None:
        self.proposals, self.points, self.members, self.rungs = proposals, points, members, rungs
        self.waiting: deque[Order] = deque()
        # Candidates of the trials that were given and have not ended, by the names of these.
        self.given: dict[str, int] = {}
        self.begun: dict[int, _Candidate] = {}
        for candidate in candidates(list(trials)):
            self._take_up(candidate.number, candidate.parameters, candidate.trials, metric, mode, bare)

    @property
    def left(self) -> int:
        """Trials that are still to be given if none ends early."""
        first_at_work = sum(0 not in candidate.outcomes for candidate in self.begun.values())
        resting = int(self._resting() is not None)
        return len(self.waiting) + self._fresh * len(self.members) + first_at_work * (len(self.members) - 1) + resting

    def epochs_left(self, epochs: int) -> float:
        """Epochs of what is left, where a whole training takes so many."""
        if self.rungs is None:
            return self.left * epochs
        further = len(self.members) - 1
        return self._fresh * (self.rungs.epochs_per_candidate + further * epochs / self.rungs.reduction)

    def next(self) -> Order | None:
        """Next trial; None where nothing waits, which may change while others are trained."""
        order = self.waiting.popleft() if self.waiting else self._promoted() or self._begun()
        if order is not None:
            self.given[order.name] = order.candidate
        return order

    def ended(self, order: Order, outcome: Outcome) -> None:
        """Enter how a trial ended, or that it rests."""
        self.given.pop(order.name, None)
        candidate = self.begun[order.candidate]
        candidate.outcomes[order.member] = outcome
        if order.member == 0:
            if self.rungs is not None:
                self.rungs.enter(order.candidate, outcome.curve, outcome.stopped)
            if candidate.goes_on:
                self.waiting.extend(
                    Order(order.candidate, member, name, order.parameters)
                    for member, name in enumerate(self.members)
                    if member > 0
                )
        decided = self._decided(candidate)
        if decided is not None:
            self.proposals.tell(order.candidate, candidate.parameters, decided)

    def may_go_on(self, candidate: int) -> bool:
        """Whether a candidate that rests may still be trained further, or was chosen and waits for its process."""
        if candidate in self.given.values():
            return True
        return self.rungs is not None and (self.left > 0 or bool(self.given)) and self.rungs.may_go_on(candidate)

    @property
    def _fresh(self) -> int:
        """Candidates that are still to be begun."""
        return max(0, self.proposals.total - len(self.begun))

    def _begun(self) -> Order | None:
        """Order of a new candidate."""
        if self._fresh == 0:
            return None
        # One that was given and never begun leaves its number free.
        number = next(number for number in itertools.count() if number not in self.begun)
        given = self.points[number] if number < len(self.points) else {}
        parameters = self.proposals.propose(number, given)
        self.begun[number] = _Candidate(parameters)
        return Order(number, 0, self.members[0], parameters, self.rungs.go_on(number, 0) if self.rungs else None)

    def _promoted(self) -> Order | None:
        """Order of a candidate that has rested."""
        number = self._resting()
        if number is None or self.rungs is None:
            return None
        candidate = self.begun[number]
        until = self.rungs.go_on(number, len(candidate.outcomes[0].curve))
        return Order(number, 0, self.members[0], candidate.parameters, until)

    def _resting(self) -> int | None:
        """Candidate that has rested and goes on next."""
        if self.rungs is None:
            return None
        at_work = self.given or self.waiting or self._fresh
        return self.rungs.next(not at_work and not any(candidate.goes_on for candidate in self.begun.values()))

    def _decided(self, candidate: _Candidate) -> Outcome | None:
        """How a candidate ended, once nothing more of it comes."""
        first = candidate.outcomes.get(0)
        if first is None or first.stopped or first.value is None:
            return first
        if len(candidate.outcomes) < len(self.members):
            return None
        values = [outcome.value for outcome in candidate.outcomes.values() if outcome.value is not None]
        whole = sum(values) / len(values) if len(values) == len(self.members) else None
        # The curve is that of the first member, which the scheduler compares.
        return Outcome(whole, False, first.curve)

    def _take_up(
        self,
        number: int,
        parameters: Parameters,
        trials: Sequence[Trial],
        metric: str,
        mode: Mode,
        bare: Collection[str],
    ) -> None:
        """Go on with a candidate that was begun before."""
        candidate = self.begun[number] = _Candidate(parameters)
        self.proposals.take_up(number, parameters)
        by_name = {trial.member: trial for trial in trials}
        for member, name in enumerate(self.members):
            trial = by_name.get(name)
            if trial is not None and trial.status in ENDED:
                candidate.outcomes[member] = outcome_of(trial, metric, mode)
            elif trial is not None or candidate.goes_on:
                self.waiting.append(Order(number, member, name, parameters, self._until(number, member, trial, metric)))
        if self.rungs is not None and 0 in candidate.outcomes:
            first, run = candidate.outcomes[0], by_name[self.members[0]].location.name
            self.rungs.enter(number, first.curve, first.stopped and run not in bare)
        decided = self._decided(candidate)
        if decided is not None:
            self.proposals.tell(number, parameters, decided)

    def _until(self, number: int, member: int, trial: Trial | None, metric: str) -> int | None:
        """Rung at which a trial that was interrupted rests."""
        if self.rungs is None or member > 0 or trial is None:
            return None
        # One that was interrupted at a rung rests there first, and is judged when it has said so.
        before = trial.curve(metric)[:-1]
        self.rungs.enter(number, before, True)
        return self.rungs.go_on(number, len(before))


def outcome_of(trial: Trial, metric: str, mode: Mode) -> Outcome:
    """How a trial ended, from its record."""
    value = None if trial.status == "failed" else trial.value(metric, mode)
    return Outcome(value, trial.status == "stopped", tuple(trial.curve(metric)))
