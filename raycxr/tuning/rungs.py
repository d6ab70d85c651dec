"""Asynchronous successive halving: candidates rest at rungs of epochs, and the best part of each rung goes on.

Li 2020, "A system for massively parallel hyperparameter tuning", MLSys (arXiv 1810.05934), algorithm 2. Ray Tune's
scheduler of this name stops a candidate for good when it reaches a rung, so that the first ones, with which nothing can
be compared yet, are trained in full; here they wait, as the paper has it, until enough others have come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from raycxr.config.tune import TuneSection
from raycxr.runs.metric import Mode


class Rungs:
    """Who has reached which rung, and who goes on.

    Parameters
    ----------
    places : sequence of int
        Epochs of the rungs, ascending, without the last epoch of a training.
    epochs : int
        Epochs of a training in full.
    reduction : float
        One candidate in so many passes a rung.
    total : int
        Candidates that there will be.
    mode : {"max", "min"}
        Which way values are better.
    """

    def __init__(self, places: Sequence[int], epochs: int, reduction: float, total: int, mode: Mode) -> None:
        self.places, self.epochs, self.reduction, self.total = tuple(places), epochs, reduction, total
        self.sign = 1.0 if mode == "max" else -1.0
        # By rung: how good each candidate was there, greater is better, and who went on or never will.
        self.scores: list[dict[int, float]] = [{} for _ in self.places]
        self.passed: list[set[int]] = [set() for _ in self.places]

    def go_on(self, candidate: int, epochs: int) -> int | None:
        """Let a candidate of so many epochs go on; returns the rung where it rests next, None where it does no more."""
        for place, passed in zip(self.places, self.passed, strict=True):
            if place <= epochs:
                passed.add(candidate)
        return next((place for place in self.places if place > epochs), None)

    def enter(self, candidate: int, curve: Sequence[float], rests: bool) -> None:
        """Enter the value after each epoch of a candidate; `rests` if it may go on from there."""
        best = -math.inf
        for epoch, value in enumerate(curve, 1):
            if value == value:
                best = max(best, self.sign * value)
            if epoch in self.places:
                self.scores[self.places.index(epoch)][candidate] = best
        for place, passed in zip(self.places, self.passed, strict=True):
            if place < len(curve) or not rests:
                passed.add(candidate)

    def next(self, nothing_else: bool) -> int | None:
        """Candidate that goes on next, from the highest rung that has one; None where none does.

        Parameters
        ----------
        nothing_else : bool
            Nothing is being trained, no candidate is new, and none was trained in full. Then the best that rests at the
            highest rung goes on, however few have reached it.
        """
        for all_pass in (False, True) if nothing_else else (False,):
            for rung, scores in reversed(list(enumerate(self.scores))):
                passing = len(scores) if all_pass else int(len(scores) / self.reduction)
                for candidate in self._best(rung, passing):
                    if candidate not in self.passed[rung] and scores[candidate] > -math.inf:
                        return candidate
        return None

    def may_go_on(self, candidate: int) -> bool:
        """Whether a candidate that rests is so good that it may go on when others have come."""
        most = max(1, int(self.total / self.reduction))
        reached = [rung for rung, scores in enumerate(self.scores) if candidate in scores]
        if not reached or candidate in self.passed[reached[-1]]:
            return False
        return candidate in self._best(reached[-1], most)

    @property
    def epochs_per_candidate(self) -> float:
        """Epochs that a candidate takes on average, if one in `reduction` passes each rung."""
        steps = zip((0, *self.places), (*self.places, self.epochs), strict=True)
        return float(sum((upper - lower) / self.reduction**rung for rung, (lower, upper) in enumerate(steps)))

    def _best(self, rung: int, count: int) -> list[int]:
        """So many candidates of a rung, best first; of equal ones the earlier first."""
        scores = self.scores[rung]
        return sorted(scores, key=lambda candidate: (-scores[candidate], candidate))[:count]


def build_rungs(section: TuneSection, epochs: int, total: int, mode: Mode) -> Rungs | None:
    """Rungs of `tune.scheduler: asha`: `grace_epochs`, and from there `reduction` times as many each; else None."""
    places: list[int] = []
    place = float(section.grace_epochs)
    while section.scheduler == "asha" and round(place) < epochs:
        if round(place) not in places:
            places.append(round(place))
        place *= section.reduction
    return Rungs(places, epochs, section.reduction, total, mode) if places else None
