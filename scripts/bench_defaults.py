"""Training with the defaults of raycxr against the plain loop of the source projects, side by side in one run.

    python scripts/bench_defaults.py --network unet --encoder resnet18 --size 256 --batch 8 --films 64 --rounds 3

Both train on the same phantoms, with the same network and batch; needs no Ray. Rounds alternate between

* `scripts/plain_fp32.py`,
* `raycxr train --local` with its defaults, over shards of the same films,
* the same training step over and over on one batch that lies on the device already: what no loader can exceed,

so that a noisy machine disturbs all alike; a figure is the median over the epochs of all rounds, without the first of
each. Prints training images per second, their ratios, and all of it as one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SCRIPTS = Path(__file__).parent
RAYCXR = [sys.executable, "-m", "raycxr"]
KINDS = ("plain", "raycxr", "model_only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--films", type=int, default=64, help="training films")
    parser.add_argument("--epochs", type=int, default=3, help="per round, the first is not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of raycxr's configuration, such as train.deterministic=false")
    parser.add_argument("--model-only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.model_only is not None:
        print("\n".join(f"{rate:.4f}" for rate in model_only(options.model_only, options)))
        return
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
            resident = [sys.executable, __file__, "--model-only", str(config), *shape, "--films", str(options.films)]
            rates["model_only"] += printed_rates([*resident, *options.overrides])
            print(f"round {number + 1}: {medians(rates)}", file=sys.stderr, flush=True)
    found = medians(rates)
    result = {
        "setting": {name: value for name, value in vars(options).items() if name != "model_only"},
        "images_per_second": found,
        "raycxr_to_plain": round(found["raycxr"] / found["plain"], 3),
        "raycxr_to_model_only": round(found["raycxr"] / found["model_only"], 3),
        "all": rates,
    }
    print(json.dumps(result, indent=2))


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


def model_only(path: Path, options: argparse.Namespace) -> list[float]:
    """Images per second of the training step alone, for each epoch."""
    import torch

    from raycxr.config.load import load_config
    from raycxr.dataset.films import Batch
    from raycxr.dataset.loader import available_cpus
    from raycxr.losses.choices import build_loss
    from raycxr.prediction.compute import choose_compute
    from raycxr.prediction.target import target_kind
    from raycxr.storage.location import Location
    from raycxr.training.allocator import keep_freed_memory
    from raycxr.training.epoch import train_epoch
    from raycxr.training.initial_state import initial_state
    from raycxr.training.kernels import choose_kernels
    from raycxr.training.progress import SilentProgress
    from raycxr.training.session import LocalSession

    config = load_config(path, options.overrides)
    session = LocalSession(Location(path.parent / "resident"), 1, "max", resume=False, progress=SilentProgress())
    choose_kernels(config.train, session.device)
    if session.device.type == "cpu":
        keep_freed_memory()
    torch.set_num_threads(available_cpus())
    compute, target = choose_compute(config.train, session.device), target_kind(config.dataset, ["lungs"])
    steps = options.films // options.batch
    state = initial_state(config, target, compute, steps)
    loss = build_loss(config.loss, config.dataset.target, config.loss_settings)
    shape = (options.batch, options.size, options.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8).to(compute.device)
    fields = torch.randint(0, 2, shape, dtype=torch.uint8).to(compute.device)
    batch = Batch(images, fields, ["film"] * options.batch, torch.ones(options.batch, dtype=torch.bool))
    rates = []
    for epoch in range(options.epochs):
        started = time.perf_counter()
        train_epoch(
            state, state.model, [batch] * steps, loss, target, compute, session, epoch * steps, 1,
            config.optimizer.clip_norm,
        )  # fmt: skip
        rates.append(steps * options.batch / (time.perf_counter() - started))
    session.close()
    return rates


if __name__ == "__main__":
    main()
