"""Which run of a prefix is pulled, and why: the best by a metric, of sweeps the best trial of the best candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raycxr.errors import DataError
from raycxr.number_text import count
from raycxr.runs.condition import STATUS, Condition
from raycxr.runs.listing import RunEntry, best_first, check_recorded, chosen_metric, filter_runs, list_runs
from raycxr.runs.metric import Mode
from raycxr.runs.record import BEST, RECORD
from raycxr.runs.sweep import Trial, parameter_text, ranked, short
from raycxr.storage.location import Location

RUNNING = "running"


@dataclass(frozen=True)
class Contender:
    """A run that may be pulled.

    `trials` are all trials of its candidate, best first, itself alone where it is no trial or has no siblings; `mean`
    is the mean of their values, by which candidates are compared.
    """

    run: RunEntry
    value: float
    mean: float
    trials: tuple[RunEntry, ...]

    @property
    def is_candidate(self) -> bool:
        """Whether it was compared by the mean of several trials."""
        return len(self.trials) > 1


@dataclass(frozen=True)
class Choice:
    """The best and the second, out of `compared` runs or candidates; `running` were left out."""

    metric: str
    mode: Mode
    best: Contender
    runner_up: Contender | None
    compared: int
    conditions: tuple[Condition, ...]
    running: tuple[RunEntry, ...]

    @property
    def reason(self) -> str:
        """Why it was chosen, in one line."""
        best, extreme = self.best, "highest" if self.mode == "max" else "lowest"
        filtered = _filtered(self.conditions)
        left_out = f"; {count(len(self.running), 'run')} still running not counted" if self.running else ""
        if not best.is_candidate:
            return f"the {extreme} {self.metric} of {count(self.compared, 'run')}{filtered}{left_out}"
        trial = best.run.trial or {}
        named = ", ".join(f"{short(key)} {parameter_text(value)}" for key, value in trial["parameters"].items())
        return (
            f"the best trial ({trial['member']}) of candidate {trial['candidate']} ({named}), which has the {extreme} "
            f"mean {self.metric} of {count(self.compared, 'candidate')}{filtered}: {best.mean:.4f} over "
            f"{len(best.trials)} trials{left_out}"
        )


def choose(
    uri: str,
    metric: str | None,
    mode: Mode | None,
    conditions: Sequence[Condition] = (),
    tell: Callable[[str], None] | None = None,
) -> Choice:
    """Choose what to pull.

    Runs that are still running take part only where the URI is such a run, or a condition speaks of `status`.

    Parameters
    ----------
    metric, mode : str, optional
        By which runs are compared; where not given, see `raycxr.runs.listing.chosen_metric`.
    tell : callable, optional
        Takes a line about each damaged run, which is left out; without it the first one is raised.

    Raises
    ------
    DataError
        No run fulfils the conditions, none has ended with that metric (says which are running), or the best one has
        lost its weights (says which has some).
    ConfigurationError
        No run recorded the metric, or a condition names an unknown key.
    """
    place = Location(uri)
    if place.name == BEST and (place.parent / RECORD).is_file():
        # The bundle of a run stands for the run.
        place = place.parent
    entries = list_runs(place.uri, tell)
    matching = filter_runs(entries, conditions)
    if not matching:
        found = f"none of {count(len(entries), 'run')} has {_listed(conditions)}" if entries else "no run"
        raise DataError(f"nothing to pull under {uri}: {found}", f"check the URI and --where, see raycxr runs {uri}")
    metric, mode = chosen_metric(place, matching, metric, mode)
    check_recorded(matching, metric)
    running: tuple[RunEntry, ...] = ()
    if matching[0].location == place:
        # A run that is named is taken as it is.
        contenders = _singly(matching, metric)
    else:
        asked = any(condition.key == STATUS for condition in conditions)
        running = () if asked else tuple(entry for entry in matching if entry.status == RUNNING)
        taken = [entry for entry in matching if entry not in running]
        # The mean of a candidate that is not complete may yet change.
        contenders = _contenders(_complete(taken, entries, asked), metric, mode) or _contenders(taken, metric, mode)
    if not contenders:
        raise _nothing_ended(uri, metric, mode, matching, running)
    best, *others = contenders
    if not best.run.has_bundle:
        raise _lost(uri, metric, contenders)
    return Choice(metric, mode, best, others[0] if others else None, len(contenders), tuple(conditions), running)


def _complete(taken: Sequence[RunEntry], entries: Sequence[RunEntry], running_too: bool) -> list[RunEntry]:
    """Leave out candidates that have fewer trials than others of their sweep, and perhaps those still running."""
    candidates = _by_candidate(entries)
    largest: dict[Location, int] = {}
    for (sweep, _), trials in candidates.items():
        largest[sweep] = max(len(trials), largest.get(sweep, 0))
    incomplete = {
        trial.location
        for (sweep, _), trials in candidates.items()
        if len(trials) < largest[sweep] or not (running_too or all(trial.status != RUNNING for trial in trials))
        for trial in trials
    }
    return [entry for entry in taken if entry.location not in incomplete]


def _contenders(entries: Sequence[RunEntry], metric: str, mode: Mode) -> list[Contender]:
    """Best first: single runs by their value, candidates by the mean over their trials."""
    found = _singly([entry for entry in entries if entry.trial is None], metric)
    by_place = {entry.location: entry for entry in entries}
    for sweep in dict.fromkeys(sweep for sweep, _ in _by_candidate(entries)):
        trials = [_trial(entry) for entry in entries if entry.trial is not None and entry.location.parent == sweep]
        for candidate in ranked(trials, metric, mode):
            members = best_first([by_place[trial.location] for trial in candidate.trials], metric, mode)
            value, mean = members[0].value(metric), candidate.value(metric, mode)
            if value is not None and mean is not None:
                found.append(Contender(members[0], value, mean, tuple(members)))
    return sorted(found, key=lambda one: one.mean if mode == "min" else -one.mean)


def _singly(entries: Sequence[RunEntry], metric: str) -> list[Contender]:
    valued = [(entry, entry.value(metric)) for entry in entries]
    return [Contender(entry, value, value, (entry,)) for entry, value in valued if value is not None and value == value]


def _by_candidate(entries: Sequence[RunEntry]) -> dict[tuple[Location, int], list[RunEntry]]:
    groups: dict[tuple[Location, int], list[RunEntry]] = {}
    for entry in entries:
        if entry.trial is not None:
            groups.setdefault((entry.location.parent, int(entry.trial["candidate"])), []).append(entry)
    return groups


def _trial(entry: RunEntry) -> Trial:
    """A trial as a sweep ranks it, by the epoch alone whose weights are kept: no other can be pulled."""
    trial: dict[str, Any] = entry.trial or {}
    return Trial(
        entry.location,
        int(trial["candidate"]),
        trial["member"],
        trial["parameters"],
        entry.status,
        entry.reason,
        int(entry.config["train"]["epochs"]),
        [{"validation": entry.metrics}],
    )


def _nothing_ended(
    uri: str, metric: str, mode: Mode, matching: Sequence[RunEntry], running: Sequence[RunEntry]
) -> DataError:
    if not running:
        statuses = Counter(entry.status for entry in matching)
        told = ", ".join(f"{number} {status}" for status, number in statuses.items())
        return DataError(
            f"nothing to pull under {uri}: {count(len(matching), 'run')} ({told}), none with a value of {metric!r}",
            f"see raycxr runs {uri}",
        )
    named = ", ".join(_progress(entry, metric) for entry in best_first(running, metric, mode))
    ready = any(entry.has_bundle for entry in running)
    return DataError(
        f"nothing to pull under {uri} yet: no run has finished, running: {named}",
        "wait for one" + (f", or take the best so far with --where {STATUS}={RUNNING}" if ready else ""),
    )


def _progress(entry: RunEntry, metric: str) -> str:
    value = entry.value(metric)
    shown = "" if value is None else f", {metric} {value:.4f}"
    return f"{entry.location.name} ({count(entry.epochs, 'epoch')} of {entry.config['train']['epochs']}{shown})"


def _lost(uri: str, metric: str, contenders: Sequence[Contender]) -> DataError:
    """Say that the best has no weights, and which has some."""
    best = contenders[0]
    message = f"the best of {uri}, {best.run.location.name} with {metric} {best.value:.4f}, has no weights"
    if best.run.status == RUNNING:
        return DataError(f"{message}: they are being written", "try again in a moment")
    for entry in (trial for contender in contenders for trial in contender.trials):
        if entry.has_bundle:
            kept = ": its sweep kept those of its best alone (tune.keep: best)" if best.run.trial is not None else ""
            remedy = f"pull {entry.location}, with {entry.value(metric):.4f} the best one that has some"
            return DataError(f"{message}{kept}", remedy)
    return DataError(message, "no other run there has some, train it again")


def _filtered(conditions: Sequence[Condition]) -> str:
    return f" with {_listed(conditions)}" if conditions else ""


def _listed(conditions: Sequence[Condition]) -> str:
    return " and ".join(str(condition) for condition in conditions)
