"""What a sweep has found, for people and for programs."""

from __future__ import annotations

from typing import Any

from raycxr.runs.record import BEST
from raycxr.runs.sweep import Trial, best_trial, parameter_text, ranked, short
from raycxr.text_table import aligned
from raycxr.tuning.sweep import SweepResult

# Candidates that are printed; `raycxr runs` lists all.
MOST_ROWS = 10


def sweep_document(result: SweepResult) -> dict[str, Any]:
    """`sweep`, how it ended, and `trials` and `best`, each with `run`, `status`, `parameters` and `metrics`."""
    best = best_trial(result.best, result.metric, result.mode)
    return {
        "sweep": result.sweep.uri,
        "status": result.status,
        "reason": result.reason,
        "metric": result.metric,
        "mode": result.mode,
        "trials": [_trial(trial, result) for trial in result.trials],
        "best": _trial(best, result) | {"bundle": (best.location / BEST).uri},
    }


def sweep_text(result: SweepResult) -> str:
    """The best candidates as a table, and where the winner lies."""
    lines = [result.sweep.uri]
    found = ranked(result.trials, result.metric, result.mode)
    keys = list(dict.fromkeys(key for trial in result.trials for key in trial.parameters))
    rows = [["", result.metric, "epochs", "status", *(short(key) for key in keys)]]
    for candidate in found[:MOST_ROWS]:
        trial = candidate.trials[0]
        value = candidate.value(result.metric, result.mode)
        rows.append([
            f"trial_{candidate.number:03d}",
            "-" if value is None else f"{value:.4f}",
            str(max(trial.epochs for trial in candidate.trials)),
            trial.status,
            *(parameter_text(trial.parameters[key]) if key in trial.parameters else "-" for key in keys),
        ])  # fmt: skip
    lines += [f"  {line}" for line in aligned(rows)]
    if len(found) > MOST_ROWS:
        lines.append(f"  and {len(found) - MOST_ROWS} more, see raycxr runs {result.sweep}")
    best = best_trial(result.best, result.metric, result.mode)
    lines.append(f"  bundle {best.location / BEST}")
    return "\n".join(lines)


def _trial(trial: Trial, result: SweepResult) -> dict[str, Any]:
    entry = trial.best_entry(result.metric, result.mode)
    return {
        "run": trial.location.uri,
        "status": trial.status,
        "reason": trial.reason,
        "parameters": trial.parameters,
        "epochs": trial.epochs,
        "metrics": {} if entry is None else entry["validation"],
    }
