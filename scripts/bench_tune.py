"""What a sweep costs beside the training in it, and what early stopping saves.

    python scripts/bench_tune.py overhead configs/sweeps/quick.yaml --trials 8
    python scripts/bench_tune.py saved runs/jsrt_sweep runs/jsrt_sweep_in_full

`overhead` runs a sweep of short trials, and as many runs of the same networks on Ray Train one after the other in one
cluster, which is the straightforward form. Of both it takes the time from the end of the first trial to the end of the
last one, less the time that their epochs took, per trial. The data set must have been ingested.

`saved` compares two sweeps over the same space and seed, the second with tune.scheduler=none: epochs trained, and how
well the winner of the first one does in the second, where every candidate was trained in full.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import datetime
from pathlib import Path

from raycxr.cluster.connection import connected
from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.runs.record import read_history, read_record
from raycxr.runs.sweep import Trial, ranked, read_sweep, read_trials
from raycxr.storage.location import Location


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    overhead = commands.add_parser("overhead")
    overhead.add_argument("config", type=Path)
    overhead.add_argument("--trials", type=int, default=8)
    overhead.add_argument("--epochs", type=int, default=2)
    saved = commands.add_parser("saved")
    saved.add_argument("stopped")
    saved.add_argument("full")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments), indent=2))


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Figures of the command that was asked for."""
    if arguments.command == "overhead":
        return measure_overhead(arguments.config, arguments.trials, arguments.epochs)
    return compare(Location(arguments.stopped), Location(arguments.full))


def measure_overhead(path: Path, trials: int, epochs: int) -> dict[str, object]:
    """Seconds per trial beyond its training, in a sweep and in runs of their own."""
    with tempfile.TemporaryDirectory() as storage:
        overrides = [f"storage.uri={storage}", f"train.epochs={epochs}", f"tune.trials={trials}",
                     "tune.scheduler=none", "tune.seed=1"]  # fmt: skip
        config = load_config(path, [*overrides, "train.name=sweep"])
        with connected(config.resources.address):
            from raycxr.tuning.sweep import run_sweep

            run_sweep(config, path, False, print)
            tried = [Location(storage) / "sweep" / f"trial_{number:03d}" for number in range(trials)]
            alone = train_alone(tried, path, storage)
        sweep, straight = beyond_training(tried), beyond_training(alone)
    return {"sweep_seconds": sweep, "runs_on_ray_train_seconds": straight, "ratio": sweep / straight}


def train_alone(trials: list[Location], path: Path, storage: str) -> list[Location]:
    """The same trainings, each a run of its own on Ray Train."""
    from raycxr.training.ray_train import train_on_ray
    from raycxr.training.run import train

    runs = []
    for trial in trials:
        config = Config.model_validate(read_record(trial)["config"])
        name = config.train.model_copy(update={"name": f"alone_{trial.name}"})
        config = config.model_copy(
            update={"train": name, "storage": config.storage.model_copy(update={"uri": storage})}
        )
        train(config, path, None, train_on_ray, print)
        runs.append(Location(storage) / f"alone_{trial.name}")
    return runs


def beyond_training(runs: list[Location]) -> float:
    """Seconds from the end of the first run to the end of the last, less those of the epochs, per run."""
    ends = [datetime.fromisoformat(read_record(run)["updated"]).timestamp() for run in runs]
    trained = [sum(float(entry["seconds"]) for entry in read_history(run)) for run in runs]
    first = ends.index(min(ends))
    others = sum(trained) - trained[first]
    return (max(ends) - min(ends) - others) / (len(runs) - 1)


def compare(stopped: Location, full: Location) -> dict[str, object]:
    """Epochs of both sweeps, and the two winners by what they reach in full."""
    record = read_sweep(full)
    metric, mode = record["metric"], record["mode"]
    early, whole = read_trials(stopped), read_trials(full)
    reached = {candidate.number: candidate.value(metric, mode) for candidate in ranked(whole, metric, mode)}
    first, best = ranked(early, metric, mode)[0], ranked(whole, metric, mode)[0]
    return {
        "metric": metric,
        "epochs_with_early_stopping": epochs(early),
        "epochs_in_full": epochs(whole),
        "share_of_epochs": epochs(early) / epochs(whole),
        "winner_with_early_stopping": first.parameters,
        "reaches_in_full": reached[first.number],
        "winner_in_full": best.parameters,
        "reaches": reached[best.number],
    }


def epochs(trials: list[Trial]) -> int:
    return sum(trial.epochs for trial in trials)


if __name__ == "__main__":
    main()
