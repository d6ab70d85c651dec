"""What a sweep has found, for people and for programs."""

from __future__ import annotations

from typing import Any

from raycxr.runs.metric import Mode
from raycxr.runs.record import BEST
from raycxr.runs.sweep import Candidate, Trial, parameter_text, ranked, short
from raycxr.tuning.sweep import SweepResult

# Candidates that are printed; `raycxr runs` lists all.
MOST_ROWS = 10


def sweep_document(result: SweepResult) -> dict[str, Any]:
    """`sweep`, `trials` in their order and `best`, each with `run`, `status`, `parameters` and `metrics`."""
    best = None if result.best is None else _best_trial(result.best, result.metric, result.mode)
    return {
        "sweep": result.sweep.uri,
        "metric": result.metric,
        "mode": result.mode,
        "trials": [_trial(trial, result) for trial in result.trials],
        "best": None if best is None else _trial(best, result) | {"bundle": (best.location / BEST).uri},
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
            str(max(len(trial.history) for trial in candidate.trials)),
            trial.status,
            *(parameter_text(trial.parameters[key]) if key in trial.parameters else "-" for key in keys),
        ])  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
              for row in rows]  # fmt: skip
    if len(found) > MOST_ROWS:
        lines.append(f"  and {len(found) - MOST_ROWS} more, see raycxr runs {result.sweep}")
    if result.best is None:
        lines.append("  no candidate has a value")
    else:
        best = _best_trial(result.best, result.metric, result.mode)
        lines.append(f"  bundle {best.location / BEST}")
    return "\n".join(lines)


def _best_trial(candidate: Candidate, metric: str, mode: Mode) -> Trial:
    """The best of a candidate's seeds or folds."""
    sign = 1 if mode == "max" else -1
    return max(candidate.trials, key=lambda trial: sign * (trial.value(metric, mode) or 0.0))


def _trial(trial: Trial, result: SweepResult) -> dict[str, Any]:
    entry = trial.best_entry(result.metric, result.mode)
    return {
        "run": trial.location.uri,
        "status": trial.status,
        "reason": trial.reason,
        "parameters": trial.parameters,
        "epochs": len(trial.history),
        "metrics": {} if entry is None else entry["validation"],
    }
