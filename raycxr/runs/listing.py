"""Runs under a storage URI, best first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from raycxr.errors import ConfigurationError, DataError
from raycxr.number_text import count
from raycxr.runs.bundle import MARKER, METRICS
from raycxr.runs.metric import Mode, metric_value
from raycxr.runs.record import BEST, RECORD, count_epochs, read_history, read_record
from raycxr.storage.location import Location

# A run may stand alone, or be a trial inside a sweep's folder.
DEPTH = 2


@dataclass(frozen=True)
class RunEntry:
    """A run as it is listed. `metrics` are those of the best epoch on validation, empty before the first.

    Where the mean of the last epochs' weights is the best, `best_epoch` is the number after the last one.
    """

    location: Location
    status: str
    epochs: int
    best_epoch: int | None
    metrics: dict[str, Any]
    updated: str
    model: str

    @property
    def has_bundle(self) -> bool:
        """Whether there is something to pull."""
        return self.best_epoch is not None

    def value(self, metric: str) -> float | None:
        """Value of a metric, None where the run has not recorded it."""
        try:
            return metric_value(self.metrics, metric)
        except ConfigurationError:
            return None


def list_runs(uri: str, metric: str, mode: Mode) -> list[RunEntry]:
    """All runs at or below a storage URI, best first, those without the metric last.

    Raises
    ------
    StorageError
        The location does not exist or cannot be read.
    """
    entries = [read_entry(run) for run in _find_runs(Location(uri), DEPTH)]

    def order(entry: RunEntry) -> tuple[bool, float, str]:
        value = entry.value(metric)
        missing = value is None or value != value
        return (
            missing,
            0.0 if missing or value is None else (value if mode == "min" else -value),
            entry.location.uri,
        )

    return sorted(entries, key=order)


def read_entry(run: Location) -> RunEntry:
    """Read one run's record, history and best metrics."""
    record = read_record(run)
    history = read_history(run)
    best: dict[str, Any] = {}
    if (run / BEST / MARKER).exists():
        best = json.loads((run / BEST / METRICS).read_text())
    updated = history[-1]["time"] if history else record.get("updated", record["created"])
    return RunEntry(
        run,
        record["status"],
        count_epochs(history),
        best.get("epoch"),
        best.get("metrics", {}),
        updated,
        _model(record),
    )


def _model(record: dict[str, Any]) -> str:
    """Network of a run in a few words."""
    classify, model = record["config"].get("classify"), record["config"]["model"]
    name: str = model["name"] if model["name"] != "unet" else f"unet {model['encoder']}"
    if classify is None:
        return name
    return f"classifier {classify['encoder'] or name}"


def _find_runs(place: Location, depth: int) -> list[Location]:
    if (place / RECORD).exists():
        return [place]
    if depth == 0:
        return []
    return [run for child in place.list() if child.is_dir() for run in _find_runs(child, depth - 1)]


def best_run(uri: str, metric: str, mode: Mode) -> tuple[RunEntry, RunEntry | None]:
    """Best run with a finished bundle, and the runner-up.

    Raises
    ------
    DataError
        No run below the URI has a bundle with that metric.
    """
    entries = list_runs(uri, metric, mode)
    ready = [entry for entry in entries if entry.has_bundle and entry.value(metric) is not None]
    if not ready:
        found = (
            f"{count(len(entries), 'run')}, none with a finished epoch that recorded {metric!r}"
            if entries
            else "no run"
        )
        raise DataError(f"nothing to pull under {uri}: {found}", "check the URI and --metric, see raycxr runs")
    return ready[0], ready[1] if len(ready) > 1 else None
