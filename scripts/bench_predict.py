"""`raycxr predict` against a plain loop with pydicom and the same network; its memory; and what takes the time.

    python scripts/bench_predict.py --films 1000 --rounds 2
    python scripts/bench_predict.py --memory 200 1000

Draws SIIM-like DICOMs of 1024 x 1024 first. Whole commands are timed, start-up included, in turn; a figure is the
median over the rounds. The network is a U-Net with a ResNet18 encoder for films of --size pixels with random weights.
Prints ratios and one JSON document.
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

import numpy as np
import torch
from process_tree import watched
from safetensors.torch import save

from raycxr.config.load import check_config, to_yaml
from raycxr.models.choices import build_model
from raycxr.postprocess.rule import apply_rules
from raycxr.prediction.film_picture import draw_findings
from raycxr.prediction.film_reader import FilmReader
from raycxr.prediction.inputs import InputFilm, list_inputs
from raycxr.prediction.predictor import load_predictor
from raycxr.runs.bundle import write_bundle
from raycxr.sources.synth_siim import write_siim_dicom
from raycxr.storage.location import Location
from raycxr.xray.picture import encode_png
from raycxr.xray.resize import undo_letterbox

RAYCXR = str(Path(sys.executable).parent / "raycxr")
PLAIN = str(Path(__file__).with_name("plain_predict.py"))
PIXELS = 1024
STAGE_FILMS = 40
STAGES = ("read and decode", "network", "decide", "encode png", "draw overlay")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="pixels of the network's films")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs=2, metavar=("FEW", "MANY"), help="measure memory instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = write_network(folder / "network", options.size)
        result = memory(options, folder, bundle) if options.memory else throughput(options, folder, bundle)
    print(json.dumps(result, indent=2))


def throughput(options: argparse.Namespace, folder: Path, bundle: Path) -> dict[str, object]:
    """Seconds of the plain loop, and of the verb with and without Ray; milliseconds per film of each stage."""
    films = drawn(folder / "films", options.films)
    ways = {
        "plain": [sys.executable, PLAIN, str(bundle), str(films)],
        "ray": [RAYCXR, "predict", str(bundle), str(films), "--format", "png", "--out"],
        "local": [RAYCXR, "predict", str(bundle), str(films), "--format", "png", "--local", "--out"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        for name, command in ways.items():
            started = time.perf_counter()
            subprocess.run([*command, str(folder / f"{name}{number}")], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "films": options.films,
        "size": options.size,
        "ray_to_plain": medians["plain"] / medians["ray"],
        "local_to_plain": medians["plain"] / medians["local"],
        "seconds": medians,
        "milliseconds_per_film": stages(bundle, list_inputs([str(films)])[:STAGE_FILMS]),
    }


def memory(options: argparse.Namespace, folder: Path, bundle: Path) -> dict[str, object]:
    """Peak of the proportional set size of `raycxr predict` and all of its processes, in megabytes."""
    peaks = {}
    for count in options.memory:
        films = drawn(folder / f"films{count}", count)
        command = [RAYCXR, "predict", str(bundle), str(films), "--out", str(folder / f"out{count}")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with watched(process.pid) as peak:
            if process.wait() != 0:
                raise SystemExit("raycxr predict failed")
        peaks[count] = peak[0] / 2**20
    few, many = options.memory
    return {"peak_megabytes": peaks, "many_to_few": peaks[many] / peaks[few]}


def stages(bundle: Path, films: list[InputFilm]) -> dict[str, float]:
    """Milliseconds per film of what is done one after the other, in one thread but for the network."""
    predictor = load_predictor([Location(bundle)])
    reader = FilmReader(predictor.size, predictor.bundles[0].intensity, None)
    rules, classes = predictor.bundles[0].rules, predictor.target.classes
    stamps: list[list[float]] = []
    for film in films:
        clock = [time.perf_counter()]
        opened = reader.open(film)
        clock.append(time.perf_counter())
        maps = predictor.predict(torch.from_numpy(opened.square)[None]).masks[0].numpy()
        clock.append(time.perf_counter())
        masks = apply_rules(rules, undo_letterbox(maps, opened.height, opened.width))
        clock.append(time.perf_counter())
        for mask in masks:
            encode_png(mask.astype(np.uint8) * np.uint8(255))
        clock.append(time.perf_counter())
        draw_findings(opened.image, masks, classes)
        clock.append(time.perf_counter())
        stamps.append(clock)
    medians = np.median(np.diff(stamps, axis=1), axis=0) * 1000
    return dict(zip(STAGES, medians.round(2).tolist(), strict=True))


def drawn(folder: Path, count: int) -> Path:
    write_siim_dicom(Location(folder), count, PIXELS, 0, lambda done, total: None)
    return folder / "dicom-images-train"


def write_network(folder: Path, size: int) -> Path:
    """Write a bundle that finds pneumothorax by chance."""
    config = check_config({"model": {"name": "unet", "encoder": "resnet18"}}, "network")
    torch.manual_seed(0)
    weights = save(build_model(config.model, 1, 1, 1).state_dict())
    values = {"pneumothorax": 0.5, "mean": 0.5}
    metrics = {"epoch": 1, "split": "validation", "metrics": {"loss": 1.0, "dice": values, "iou": values}}
    about = {
        "classes": ["pneumothorax"],
        "size": size,
        "intensity": {"rule": "percentile", "low": 0.5, "high": 99.5},
        "rules": {"pneumothorax": {"threshold": 0.5}},
    }
    write_bundle(Location(folder), weights, to_yaml(config), metrics, about, "a card")
    return folder


if __name__ == "__main__":
    main()
