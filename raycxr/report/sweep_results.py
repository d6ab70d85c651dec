"""What a sweep has found so far: its trials, its candidates in order, and the bundle of the best."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raycxr.runs.bundle import MARKER
from raycxr.runs.metric import Mode
from raycxr.runs.record import BEST
from raycxr.runs.sweep import Candidate, Trial, best_trial, candidates, ranked, read_sweep, read_trials
from raycxr.storage.location import Location

# Of a candidate's trials the status that stands first here is the candidate's.
STATUSES = ("failed", "running", "interrupted", "stopped", "finished")


@dataclass(frozen=True)
class SweepResults:
    """A sweep as its page needs it.

    Attributes
    ----------
    record : dict
        `sweep.json`.
    trials : list of Trial
        All that were begun.
    candidates, ranked : list of Candidate
        All of them by number; those that have a value, best first.
    bundle : Location or None
        Weights of the best trial of the best candidate, where they are kept.
    """

    location: Location
    record: dict[str, Any]
    metric: str
    mode: Mode
    trials: list[Trial]
    candidates: list[Candidate]
    ranked: list[Candidate]
    bundle: Location | None

    @property
    def best(self) -> Candidate | None:
        """The best candidate."""
        return self.ranked[0] if self.ranked else None

    @property
    def tune(self) -> dict[str, Any]:
        """Section `tune` of the configuration."""
        section: dict[str, Any] = self.record.get("config", {}).get("tune", {})
        return section

    @property
    def unranked(self) -> list[Candidate]:
        """Candidates without a value, in the order of their numbers."""
        numbers = {candidate.number for candidate in self.ranked}
        return [candidate for candidate in self.candidates if candidate.number not in numbers]

    @property
    def seconds_passed(self) -> float | None:
        """Time from the sweep's beginning to its last word, with the pauses between; None where it is not told."""
        created, updated = self.record.get("created"), self.record.get("updated")
        if not created or not updated:
            return None
        return (datetime.fromisoformat(updated) - datetime.fromisoformat(created)).total_seconds()

    def value(self, candidate: Candidate) -> float:
        """Value of a ranked candidate."""
        value = candidate.value(self.metric, self.mode)
        assert value is not None
        return value

    def is_best(self, candidate: Candidate) -> bool:
        """Whether it is the best one."""
        return bool(self.ranked) and candidate.number == self.ranked[0].number

    def count(self, status: str) -> int:
        """Trials of one status."""
        return sum(trial.status == status for trial in self.trials)


def read_results(place: Location) -> SweepResults:
    """Read a sweep with all of its trials.

    Raises
    ------
    DataError
        There is no sweep, or one of its files is not valid.
    """
    record = read_sweep(place)
    trials = read_trials(place)
    metric, mode = record["metric"], record["mode"]
    order = ranked(trials, metric, mode)
    bundle = None
    if order:
        kept = best_trial(order[0], metric, mode).location / BEST
        bundle = kept if (kept / MARKER).exists() else None
    return SweepResults(place, record, metric, mode, trials, candidates(trials), order, bundle)


def candidate_status(candidate: Candidate) -> str:
    """Status of a candidate: of its trials' the one that weighs most."""
    found = {trial.status for trial in candidate.trials}
    return next((status for status in STATUSES if status in found), "running")


def candidate_name(candidate: Candidate) -> str:
    """Name of its run, or its number where it has several."""
    return candidate.trials[0].location.name if len(candidate.trials) == 1 else f"candidate {candidate.number}"


def value_text(value: float) -> str:
    """A metric's value in the digits that tell candidates apart."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
