"""A made sweep: the files of a real one with made figures, for the tests and to look at a report without training.

python scripts/made_sweep.py DIR [CANDIDATES] && raycxr report DIR --out sweep.html
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raycxr.config.sections import Config
from raycxr.runs.bundle import write_bundle
from raycxr.runs.record import BEST, RECORD, read_record, start_record, write_history
from raycxr.runs.sweep import SWEEP
from raycxr.storage.location import Location

SPACE: dict[str, dict[str, Any]] = {
    "model.name": {"choice": ["unet", "fpn", "deeplabv3plus", "classic-unet"]},
    "model.encoder": {"choice": ["resnet18", "efficientnet-b0"], "when": {"model.name": ["unet", "fpn"]}},
    "loss": {"choice": [{"bce": 1, "dice": 1}, {"dice": 1}, {"bce": 0.5, "tversky": 1}]},
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    "train.batch_size": {"choice": [8, 16, 32]},
    "augment.strength": {"uniform": [0.0, 1.0]},
}
DATASET = {"uri": "/data/phantoms", "id": "0123456789abcdef", "classes": ["lungs"], "splits": {"train": 100}}


@dataclass(frozen=True)
class MadeTrial:
    """A trial: `curve` is the metric in each finished epoch, of as many planned as it is long where none are given."""

    candidate: int
    parameters: Mapping[str, Any]
    curve: Sequence[float]
    status: str = "finished"
    reason: str | None = None
    member: str | None = None
    epochs: int | None = None
    seconds: float = 30.0
    bundle: bool = False


@dataclass(frozen=True)
class MadeSweep:
    """A sweep of made trials; `metric` is one of classes, such as dice.mean, or one number, such as loss."""

    trials: Sequence[MadeTrial]
    space: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: SPACE)
    status: str = "finished"
    metric: str = "dice.mean"
    mode: str = "max"
    tune: Mapping[str, Any] = field(default_factory=lambda: {"searcher": "tpe", "scheduler": "asha", "trials": None})


def write_sweep(place: Location, sweep: MadeSweep) -> None:
    """Write `sweep.json` and a run for each trial, by the functions that training itself writes with."""
    record = {
        "sweep": place.name,
        "status": sweep.status,
        "created": "2026-11-21T15:11:13+00:00",
        "updated": "2026-11-21T17:40:02+00:00",
        "metric": sweep.metric,
        "mode": sweep.mode,
        "space": sweep.space,
        "config": {"tune": sweep.tune},
    }
    (place / SWEEP).write_text(json.dumps(record, indent=2))
    template: dict[str, Any] | None = None
    for trial in sweep.trials:
        name = f"trial-{trial.candidate:04d}" + (f"-{trial.member.replace(' ', '-')}" if trial.member else "")
        run = place / name
        if template is None:
            # Once: it asks git and the installed packages for their versions.
            start_record(run, Config(), DATASET, 1)
            template = read_record(run)
        template["config"]["train"]["epochs"] = trial.epochs or max(len(trial.curve), 1)
        written = template | {"run": name, "status": trial.status, "trial": _origin(trial)}
        (run / RECORD).write_text(json.dumps(written | ({"reason": trial.reason} if trial.reason else {}), indent=2))
        if trial.curve:
            write_history(run, [_entry(trial, epoch, sweep.metric) for epoch in range(1, len(trial.curve) + 1)])
        if trial.bundle:
            write_bundle(run / BEST, b"weights", "model: {}\n", {"epoch": 1, "metrics": {}}, {}, "made")


def _origin(trial: MadeTrial) -> dict[str, Any]:
    return {"candidate": trial.candidate, "member": trial.member, "parameters": dict(trial.parameters)}


def _entry(trial: MadeTrial, epoch: int, metric: str) -> dict[str, Any]:
    name, _, part = metric.partition(".")
    value = trial.curve[epoch - 1]
    return {
        "epoch": epoch,
        "time": "2026-11-21T15:12:05+00:00",
        "lr": 1e-3,
        "train": {"loss": 0.5, "loss_parts": {"dice": 0.5}, "images": 100},
        "validation": {"loss": 0.4, name: {part: value} if part else value, "images": 20},
        "best": value == value and value >= max(v for v in trial.curve[:epoch] if v == v),
        "seconds": trial.seconds / len(trial.curve),
        "images_per_second": 11.4,
    }


def example(candidates: int, seed: int = 0) -> MadeSweep:
    """A search under ASHA: architecture and learning rate decide, a few fail or learn nothing, two still run."""
    draw, trials, epochs = random.Random(seed), [], 27
    for number in range(candidates):
        parameters: dict[str, Any] = {
            "model.name": draw.choice(SPACE["model.name"]["choice"]),
            "loss": draw.choice(SPACE["loss"]["choice"]),
            "optimizer.lr": 10 ** draw.uniform(-4, -2),
            "train.batch_size": draw.choice([8, 16, 32]),
            "augment.strength": draw.random(),
        }
        if parameters["model.name"] in ("unet", "fpn"):
            parameters["model.encoder"] = draw.choice(SPACE["model.encoder"]["choice"])
        best = 0.955 + {"unet": 0.012, "fpn": 0.004}.get(parameters["model.name"], -0.004)
        best -= 0.03 * (math.log10(parameters["optimizer.lr"]) + 2.9) ** 2 - draw.gauss(0, 0.003)
        best -= 0.006 * ("tversky" in parameters["loss"])
        if draw.random() < 0.05:
            best = draw.uniform(0.2, 0.6)
        reached = next((rung for rung, least in ((3, 0.93), (9, 0.95)) if best < least), epochs)
        status, reason = ("stopped" if reached < epochs else "finished"), None
        if draw.random() < 0.05:
            reached, status = draw.randint(0, 6), "failed"
            reason = "out of memory: 3.1 GB asked for, 0.4 GB free - lower train.batch_size"
        if number >= candidates - 2:
            reached, status, reason = 2, "running", None
        curve = [best - 0.6 * math.exp(-0.6 * (epoch + 1)) + draw.gauss(0, 0.0015) for epoch in range(reached)]
        seconds = (
            draw.uniform(0.9, 1.2)
            * reached
            * {"unet": 9, "fpn": 11, "deeplabv3plus": 16}.get(parameters["model.name"], 5)
        )
        trials.append(MadeTrial(number, parameters, curve, status, reason, None, epochs, seconds, number % 3 == 0))
    tune = {"searcher": "tpe", "scheduler": "asha", "trials": candidates}
    return MadeSweep(trials, status="running", tune=tune)


if __name__ == "__main__":
    write_sweep(Location(sys.argv[1]), example(int(sys.argv[2]) if len(sys.argv) > 2 else 40))
