"""What an epoch costs: against a plain script, in this process and on Ray Train with one worker.

Rounds alternate between the plain script, `raycxr train --local` and `raycxr train` on one Ray worker, so that a noisy
machine disturbs all alike; a figure is the median over the epochs of all rounds, without the first epoch of each. The
data set must have been ingested.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent
RAYCXR = str(Path(sys.executable).parent / "raycxr")


def add_command(commands: Any) -> None:
    """Add `epoch` to a parser's sub-commands."""
    parser = commands.add_parser("epoch", help="epochs, first steps and start-up beside a plain script")
    parser.add_argument("config")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="per round, the first is not counted")
    parser.add_argument("--films", type=int, default=80, help="training films")
    parser.set_defaults(measure=measure)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds and their ratios."""
    seconds: dict[str, list[float]] = {"plain": [], "local": [], "ray": []}
    first_step: dict[str, list[float]] = {"local": [], "ray": []}
    overrides = [f"train.epochs={arguments.epochs}", "train.batch_size=8", *split(arguments.films)]
    with tempfile.TemporaryDirectory() as storage:
        for number in range(arguments.rounds):
            seconds["plain"] += plain_epochs(arguments.config, overrides)
            for name, options in (("local", ["--local"]), ("ray", [])):
                run = [*overrides, "train.ema_decay=null", f"storage.uri={storage}", f"train.name={name}{number}"]
                first_step[name].append(train(arguments.config, [*run, *options]))
                history = Path(storage, f"{name}{number}", "history.jsonl").read_text().splitlines()
                seconds[name] += [json.loads(line)["seconds"] for line in history[1:]]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "epoch_seconds": medians,
        "local_to_plain": medians["local"] / medians["plain"],
        "ray_to_plain": medians["ray"] / medians["plain"],
        "seconds_to_first_step": {name: statistics.median(values) for name, values in first_step.items()},
        "help_seconds": statistics.median(help_seconds() for _ in range(5)),
        "all_epoch_seconds": seconds,
        "all_seconds_to_first_step": first_step,
    }


def split(films: int) -> list[str]:
    return [f"dataset.split={{train: {films}, validation: 16, test: {max(0, 246 - 16 - films)}}}"]


def plain_epochs(config: str, overrides: list[str]) -> list[float]:
    """Seconds of the epochs of the plain script, without the first."""
    command = [sys.executable, str(SCRIPTS / "plain_train.py"), config, *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()][1:]


def train(config: str, arguments: list[str]) -> float:
    """Run to the end, and return the seconds from the command to its first training step."""
    started, first = time.perf_counter(), float("nan")
    process = subprocess.Popen([RAYCXR, "train", config, *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training:"):
            first = time.perf_counter() - started
    if process.wait() != 0:
        raise SystemExit(f"raycxr train {' '.join(arguments)} failed")
    return first


def help_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([RAYCXR, "--help"], capture_output=True, check=True)
    return time.perf_counter() - started
