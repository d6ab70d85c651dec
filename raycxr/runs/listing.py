"""Runs under a storage URI: read many at a time, filtered, and put into order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from raycxr.errors import ConfigurationError, DataError
from raycxr.number_text import count
from raycxr.runs.bundle import MARKER, METRICS
from raycxr.runs.condition import STATUS, Condition, check_conditions, check_key, setting
from raycxr.runs.metric import Mode, default_mode, metric_names, metric_value
from raycxr.runs.record import BEST, count_epochs, read_document, read_history, read_record
from raycxr.runs.sweep import is_sweep, read_sweep
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location

# A run may stand alone, or be a trial inside a sweep's folder.
DEPTH = 2
# What runs are put into order by, besides any key of their configuration.
ORDERS = ("metric", "updated", "run", "status")
# A run is a handful of small files: over a network nearly all of the time is waiting.
_READERS = 16


@dataclass(frozen=True)
class RunEntry:
    """A run as it is listed. `metrics` are those of the best epoch on `split`, empty before the first.

    `split` is `validation`, or `out of fold` for a classifier. Where the mean of the last epochs' weights is the best,
    `best_epoch` is the number after the last one. `trial` is what a sweep says of its trials: `candidate`, `member`,
    `parameters`. `has_bundle` tells whether there is something to pull: a sweep keeps the weights of its best alone.
    """

    location: Location
    status: str
    reason: str | None
    epochs: int
    best_epoch: int | None
    metrics: dict[str, Any]
    split: str
    updated: str
    config: dict[str, Any]
    trial: dict[str, Any] | None
    has_bundle: bool

    @property
    def model(self) -> str:
        """Network of the run in a few words."""
        classify, model = self.config.get("classify"), self.config["model"]
        name: str = model["name"] if model["name"] != "unet" else f"unet {model['encoder']}"
        return name if classify is None else f"classifier {classify['encoder'] or name}"

    @property
    def settings(self) -> dict[str, Any]:
        """What conditions are about: the configuration, and `status`."""
        return {**self.config, STATUS: self.status}

    @property
    def chosen_by(self) -> str:
        """The metric that the run is compared by: the one of its best epoch; of a classifier, the AUC out of fold."""
        return str(self.config["train"]["metric"]) if self.config.get("classify") is None else "auc"

    def value(self, metric: str) -> float | None:
        """Value of a metric, None where the run has not recorded it."""
        try:
            return metric_value(self.metrics, metric)
        except ConfigurationError:
            return None


def list_runs(uri: str, tell: Callable[[str], None] | None = None) -> list[RunEntry]:
    """All runs at or below a storage URI, in the order of their URIs.

    Parameters
    ----------
    tell : callable, optional
        Takes a line about each run that is left out as its files are damaged; without it the first one is raised.

    Raises
    ------
    StorageError
        The location does not exist or cannot be read.
    DataError
        The run that the URI names is damaged, or, if nobody is told, any.
    """
    found: list[RunEntry] = []
    level = [Location(uri)]
    with ThreadPoolExecutor(_READERS) as readers:
        for depth in range(DEPTH + 1):
            # With the patience of the caller: a thread begins with another context.
            visits = [readers.submit(copy_context().run, _visit, place, depth) for place in level]
            results = [visit.result() for visit in visits]
            found += [result for result in results if isinstance(result, RunEntry)]
            for error in (result for result in results if isinstance(result, DataError)):
                if tell is None or depth == 0:
                    raise error
                tell(f"left out: {error.message}")
            level = [folder for result in results if isinstance(result, list) for folder in result]
    return sorted(found, key=lambda entry: entry.location.uri)


def read_entry(run: Location) -> RunEntry:
    """Read one run's record, history and best metrics; `MissingError` where there is no run."""
    record = read_record(run)
    history = read_history(run)
    bundle = _read_bundle_metrics(run / BEST)
    best = _best_of(history, record) if bundle is None else bundle
    return RunEntry(
        run,
        record["status"],
        record.get("reason"),
        count_epochs(history),
        best["epoch"],
        best["metrics"],
        best.get("split", "validation"),
        max([record["created"], record.get("updated", ""), *(entry["time"] for entry in history[-1:])]),
        record["config"],
        record.get("trial"),
        bundle is not None,
    )


def filter_runs(
    entries: Sequence[RunEntry], conditions: Sequence[Condition], statuses: Sequence[str] = ()
) -> list[RunEntry]:
    """Runs that fulfil every condition and, where statuses are given, have one of them.

    Raises
    ------
    ConfigurationError
        A condition names a key that neither the configuration nor a run knows.
    """
    check_conditions(conditions, [entry.settings for entry in entries])
    return [
        entry
        for entry in entries
        if all(condition.holds(entry.settings) for condition in conditions)
        and (not statuses or entry.status in statuses)
    ]


def chosen_metric(
    place: Location, entries: Sequence[RunEntry], metric: str | None, mode: Mode | None
) -> tuple[str, Mode]:
    """The metric and mode that runs are compared by, where they are not given.

    Those of the sweep, if the place is one; else the metric that the runs themselves were chosen by, where all agree;
    else `dice.mean`.
    """
    sweep = read_sweep(place) if (metric is None or mode is None) and is_sweep(place) else None
    if metric is None:
        own = {entry.chosen_by for entry in entries}
        metric = str(sweep["metric"]) if sweep else own.pop() if len(own) == 1 else "dice.mean"
    if mode is None:
        mode = sweep["mode"] if sweep and sweep["metric"] == metric else default_mode(metric)
    return metric, mode


def check_recorded(entries: Sequence[RunEntry], metric: str) -> None:
    """Check that a metric is recorded by some run, if anything is.

    Raises
    ------
    ConfigurationError
        It is not; lists what is recorded.
    """
    recorded = list(dict.fromkeys(name for entry in entries for name in metric_names(entry.metrics)))
    if recorded and all(entry.value(metric) is None for entry in entries):
        raise ConfigurationError(
            f"no run of {count(len(entries), 'run')} recorded the metric {metric!r}",
            f"choose from {', '.join(recorded)}",
        )


def best_first(entries: Sequence[RunEntry], metric: str, mode: Mode) -> list[RunEntry]:
    """Runs in the order of a metric, those without it last."""

    def order(entry: RunEntry) -> tuple[bool, float, str]:
        value = entry.value(metric)
        if value is None or value != value:
            return True, 0.0, entry.location.uri
        return False, value if mode == "min" else -value, entry.location.uri

    return sorted(entries, key=order)


def sort_runs(entries: Sequence[RunEntry], order: str, metric: str, mode: Mode) -> list[RunEntry]:
    """Runs in one of `ORDERS`, or in that of a key of their configuration.

    Parameters
    ----------
    order : str
        `metric`: best first; `updated`: latest first; `run`, `status`: by name, within a status best first; a key:
        numbers rising, then words, and those that have none last; equal ones best first.

    Raises
    ------
    ConfigurationError
        Neither one of these nor a key.
    """
    check_key(order, [entry.settings for entry in entries], ORDERS)
    if order == "run":
        return sorted(entries, key=lambda entry: entry.location.uri)
    if order == "updated":
        return sorted(entries, key=lambda entry: entry.updated, reverse=True)
    best = best_first(entries, metric, mode)
    return best if order == "metric" else sorted(best, key=lambda entry: _by_value(setting(entry.settings, order)))


def _by_value(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def _visit(place: Location, depth: int) -> RunEntry | list[Location] | DataError:
    """The run in a folder, what is wrong with it, or the folders to look into."""
    try:
        return read_entry(place)
    except DataError as error:
        return error
    except MissingError:
        if depth == DEPTH:
            return []
    try:
        return place.list_folders()
    except MissingError:
        # Removed since it was listed; only what the user has named must exist.
        if depth == 0:
            raise
        return []


def _read_bundle_metrics(best: Location) -> dict[str, Any] | None:
    """`metrics.json` of a whole bundle: what the weights that are there achieve; None where there are none."""
    if not (best / MARKER).is_file():
        return None
    try:
        return read_document(best / METRICS, "metrics", "the metrics of a bundle")
    except MissingError:  # removed between the two requests
        return None


def _best_of(history: Sequence[dict[str, Any]], record: dict[str, Any]) -> dict[str, Any]:
    """Epoch and metrics by the history, as `metrics.json` has them: for runs whose bundle is gone, or being written.

    A classifier's history is about films on which its epochs are chosen; what it is worth, out of fold, stands in its
    bundle alone.
    """
    best = None
    if record["config"].get("classify") is None:
        best = next((entry for entry in reversed(history) if entry["best"]), None)
    if best is None:
        return {"epoch": None, "metrics": {}}
    return {"epoch": best["epoch"], "metrics": best["validation"]}
