"""Runs as a table for people; of a sweep's trials, with their parameters in place of the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raycxr.runs.listing import RunEntry
from raycxr.runs.sweep import parameter_text, short
from raycxr.storage.location import Location

_RIGHT = ("epochs", "best")


def run_table(entries: Sequence[RunEntry], place: Location, metric: str) -> str:
    """One line for each run, under a line of titles.

    Parameters
    ----------
    place : Location
        What was listed: runs are named by where they lie in it.
    metric : str
        The metric that has a column.
    """
    rows = [
        {
            "run": _name(entry, place),
            "status": entry.status,
            "epochs": str(entry.epochs),
            "best": _best_epoch(entry),
            metric: _value(entry, metric),
            **(_parameters(entries, entry, ("run", "status", *_RIGHT, metric)) or {"model": entry.model}),
        }
        for entry in entries
    ]
    widths = {title: max(len(title), *(len(row[title]) for row in rows)) for title in rows[0]}
    lines = [{title: title for title in widths}, *rows]
    return "\n".join(
        "  ".join(
            text.rjust(widths[title]) if title in (*_RIGHT, metric) else text.ljust(widths[title])
            for title, text in line.items()
        ).rstrip()
        for line in lines
    )


def _name(entry: RunEntry, place: Location) -> str:
    inside = entry.location.uri.removeprefix(f"{place.uri.rstrip('/')}/")
    return entry.location.name if inside == entry.location.uri else inside


def _best_epoch(entry: RunEntry) -> str:
    if entry.best_epoch is None:
        return "-"
    # After the last epoch stands the mean of their weights.
    return "mean" if entry.best_epoch > entry.epochs else str(entry.best_epoch)


def _value(entry: RunEntry, metric: str) -> str:
    value = entry.value(metric)
    return "-" if value is None else f"{value:.4f}"


def _parameters(entries: Sequence[RunEntry], entry: RunEntry, taken: Sequence[str]) -> dict[str, str]:
    """Columns of a trial, where all that are shown are trials: which of its candidate it is, and its parameters.

    Titles that are `taken` are those of other columns.
    """
    trials = [one.trial for one in entries if one.trial is not None]
    if len(trials) < len(entries) or entry.trial is None:
        return {}
    columns: dict[str, str] = {}
    if any(trial["member"] is not None for trial in trials):
        columns = {"candidate": str(entry.trial["candidate"]), "member": entry.trial["member"] or "-"}
    keys = list(dict.fromkeys(key for trial in trials for key in trial["parameters"]))
    # Beside the metric `loss`, the parameter has another title.
    names = Counter([*map(short, keys), *taken])
    for key in keys:
        given = key in entry.trial["parameters"]
        shown = parameter_text(entry.trial["parameters"][key]) if given else "-"
        title = short(key) if names[short(key)] == 1 else key
        columns[f"{title} (searched)" if title in taken else title] = shown
    return columns
