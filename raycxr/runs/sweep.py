"""A sweep as it lies in storage: `sweep.json`, and one ordinary run for each trial.

A candidate is one choice of parameters. It is trained once, or once for each seed or fold, and each of these is a
trial: a run in a folder of the sweep, whose `run.json` has the further key `trial`.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from raycxr.errors import ConfigurationError, DataError
from raycxr.runs.metric import Mode, metric_value
from raycxr.runs.record import RECORD, count_epochs, read_document, read_history, read_record
from raycxr.storage.location import Location

SWEEP = "sweep.json"
# What a trial can be at last: whole, ended early by the scheduler, or given up.
ENDED = ("finished", "stopped", "failed")
READERS = 16


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    `parameters` are those that the searcher chose: dotted key -> value. `member` is None, or names the seed or the fold
    (`seed 1`, `fold 0`) that this trial of its candidate was trained with. `status` is `running`, `finished`, `stopped`
    (early, by the scheduler), `failed` or `interrupted`, `reason` the line that goes with `failed`. `history` has an
    entry for each finished epoch, as `history.jsonl`.
    """

    location: Location
    candidate: int
    member: str | None
    parameters: dict[str, Any]
    status: str
    reason: str | None
    epochs_planned: int
    history: list[dict[str, Any]]

    def curve(self, metric: str) -> list[float]:
        """Value of a validation metric in each finished epoch; NaN where it was not recorded."""
        return [_value(entry["validation"], metric) for entry in self.history]

    def value(self, metric: str, mode: Mode) -> float | None:
        """Best value so far; None before the first that is defined."""
        defined = [value for value in self.curve(metric) if value == value]
        if not defined:
            return None
        return max(defined) if mode == "max" else min(defined)

    def best_entry(self, metric: str, mode: Mode) -> dict[str, Any] | None:
        """Entry of the epoch with the best value; None before the first that is defined."""
        best = self.value(metric, mode)
        return next((entry for entry in self.history if _value(entry["validation"], metric) == best), None)

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return count_epochs(self.history)

    @property
    def seconds(self) -> float:
        """Time that its epochs took."""
        return sum(float(entry["seconds"]) for entry in self.history)


@dataclass(frozen=True)
class Candidate:
    """One choice of parameters with all of its trials."""

    number: int
    parameters: dict[str, Any]
    trials: tuple[Trial, ...]

    def value(self, metric: str, mode: Mode) -> float | None:
        """Mean over its trials of each one's best value; None before each of them has one, or where one failed."""
        values = [trial.value(metric, mode) for trial in self.trials if trial.status != "failed"]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(self.trials) else None


def is_sweep(place: Location) -> bool:
    """Whether there is a sweep."""
    return (place / SWEEP).is_file()


def read_sweep(place: Location) -> dict[str, Any]:
    """Read `sweep.json`.

    Returns
    -------
    dict
        `sweep` (its name), `status` (`running`, `finished`, `failed`, `interrupted`), `created`, `updated`, `metric`,
        `mode`, `space` (dotted key -> kind -> values), `config` (the whole configuration, `config.tune` among it).

    Raises
    ------
    DataError
        There is none, or it is not valid.
    """
    if not is_sweep(place):
        raise DataError(f"{place} is no sweep: no {SWEEP}", f"see raycxr runs {place.parent}")
    return read_document(place / SWEEP, "space", "the record of a sweep")


def read_trials(sweep: Location) -> list[Trial]:
    """All trials of a sweep that were begun, in the order of their names."""
    # Several at a time: in a bucket each of them takes a few round trips.
    with ThreadPoolExecutor(READERS) as readers:
        found = list(readers.map(_read_trial, sweep.list()))
    return [trial for trial in found if trial is not None]


def candidates(trials: list[Trial]) -> list[Candidate]:
    """Trials by candidate, in the order of their numbers."""
    numbers = sorted({trial.candidate for trial in trials})
    groups = [tuple(trial for trial in trials if trial.candidate == number) for number in numbers]
    return [Candidate(group[0].candidate, group[0].parameters, group) for group in groups]


def ranked(trials: list[Trial], metric: str, mode: Mode) -> list[Candidate]:
    """Candidates that have a value, best first; of equal ones the earlier first.

    Where candidates have several seeds or folds, those of which some were spared come after the others.
    """
    found = candidates(trials)
    most = max((len(candidate.trials) for candidate in found), default=0)
    valued = [(candidate.value(metric, mode), candidate) for candidate in found]
    known = [(value, candidate) for value, candidate in valued if value is not None]
    sign = 1 if mode == "min" else -1
    known.sort(key=lambda item: (len(item[1].trials) < most, sign * item[0]))
    return [candidate for _, candidate in known]


def best_trial(candidate: Candidate, metric: str, mode: Mode) -> Trial:
    """Trial of the best value among those of a ranked candidate."""
    valued = [(trial.value(metric, mode), trial) for trial in candidate.trials]
    known = [(value, trial) for value, trial in valued if value is not None]
    choose = max if mode == "max" else min
    return choose(known, key=lambda item: item[0])[1]


def short(key: str) -> str:
    """The part of a key that says most in a table: `lr` of `optimizer.lr`, `model` of `model.name`."""
    section, _, last = key.rpartition(".")
    return section.rpartition(".")[2] if last == "name" and section else last


def parameter_text(value: Any) -> str:
    """A parameter's value in few characters: `3e-04`, `bce+dice`, `unet`."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return "+".join(name if weight == 1 else f"{weight:g} {name}" if _is_number(weight) else f"{name} {weight}"
                        for name, weight in value.items())  # fmt: skip
    return "none" if value is None else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(validation: Mapping[str, Any], metric: str) -> float:
    try:
        return metric_value(validation, metric)
    except ConfigurationError:
        return float("nan")


def _read_trial(place: Location) -> Trial | None:
    """Trial in a folder of a sweep; None where there is no run, or one that the sweep has not begun."""
    if not (place / RECORD).is_file():
        return None
    record = read_record(place)
    trial = record.get("trial")
    if trial is None:
        return None
    return Trial(
        place,
        int(trial["candidate"]),
        trial["member"],
        dict(trial["parameters"]),
        record["status"],
        record.get("reason"),
        int(record["config"]["train"]["epochs"]),
        read_history(place),
    )
