"""Training with the defaults of raycxr against the plain loop of the source projects; needs no Ray.

Both train on the same phantoms, with the same network and batch. Rounds alternate between

* `scripts/plain_fp32.py`,
* `raycxr train --local` with its defaults, over shards of the same films,
* the same training step over and over on one batch that lies on the device already: what no loader can exceed,

so that a noisy machine disturbs all alike; a figure is the median over the epochs of all rounds, without the first of
each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

SCRIPTS = Path(__file__).parent
RAYCXR = [sys.executable, "-m", "raycxr"]
KINDS = ("plain", "raycxr", "model_only")


def add_command(commands: Any) -> None:
    """Add `defaults` to a parser's sub-commands."""
    parser = commands.add_parser("defaults", help="images per second of raycxr's defaults and of a plain fp32 loop")
    parser.add_argument("--network", default="unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--films", type=int, default=64, help="training films")
    parser.add_argument("--epochs", type=int, default=3, help="per round, the first is not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of raycxr's configuration, such as train.deterministic=false")
    parser.set_defaults(measure=measure)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Training images per second, and their ratios."""
    if options.device == "cpu":
        # raycxr trains on a GPU wherever there is one.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        config = prepare(Path(folder), options)
        network = ["--network", options.network, "--encoder", options.encoder, "--size", str(options.size)]
        shape = [*network, "--batch", str(options.batch), "--epochs", str(options.epochs), "--device", options.device]
        for number in range(options.rounds):
            plain = [sys.executable, str(SCRIPTS / "plain_fp32.py"), f"{folder}/train", *shape]
            rates["plain"] += printed_rates(plain)
            rates["raycxr"] += raycxr_rates(config, Path(folder), f"round{number}", options.overrides)
            steps = options.films // options.batch
            resident = [sys.executable, str(SCRIPTS / "resident_training.py"), str(config), str(steps)]
            rates["model_only"] += printed_rates([*resident, *options.overrides])
            print(f"round {number + 1}: {medians(rates)}", file=sys.stderr, flush=True)
    found = medians(rates)
    return {
        "images_per_second": found,
        "raycxr_to_plain": round(found["raycxr"] / found["plain"], 3),
        "raycxr_to_model_only": round(found["raycxr"] / found["model_only"], 3),
        "all": rates,
    }


def medians(rates: dict[str, list[float]]) -> dict[str, float]:
    return {kind: round(statistics.median(values), 2) for kind, values in rates.items()}


def prepare(folder: Path, options: argparse.Namespace) -> Path:
    """Draw the films, ingest them, and write the configuration of the runs."""
    from raycxr.config.load import load_config
    from raycxr.dataset.ingest import ingest, run_here
    from raycxr.sources.synth import write_pairs
    from raycxr.storage.location import Location

    held_out = options.batch
    write_pairs(Location(folder / "train"), options.films, options.size, 0, lambda done, total: None)
    write_pairs(Location(folder / "all"), options.films + held_out, options.size, 0, lambda done, total: None)
    split = {"rule": "fraction", "train": options.films, "validation": held_out, "test": 0}
    settings = {
        "ingest": {
            "source": "pairs",
            "images": str(folder / "all" / "images"),
            "masks": str(folder / "all" / "masks"),
            "size": options.size,
            "out": str(folder / "data"),
        },
        "dataset": {"split": split, "cache": str(folder / "cache")},
        "model": {"name": options.network, "encoder": options.encoder},
        "train": {"epochs": options.epochs, "batch_size": options.batch},
        "storage": {"uri": str(folder / "runs")},
    }
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(settings))
    ingest(load_config(path), run_here, lambda done, total: None)
    return path


def printed_rates(command: list[str]) -> list[float]:
    """Images per second that a script prints, without its first epoch."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [float(line) for line in done.stdout.split()][1:]


def raycxr_rates(config: Path, folder: Path, name: str, overrides: list[str]) -> list[float]:
    """Images per second of the training epochs of a run, without the first."""
    command = [*RAYCXR, "train", str(config), f"train.name={name}", *overrides, "--local"]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    history = (folder / "runs" / name / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["images_per_second"] for line in history[1:]]
