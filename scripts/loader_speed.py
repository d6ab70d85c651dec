"""`bench_training.py loader`: films per second of our loaders and of plain ones, each with as many processes.

Phantoms of 1024 pixels are drawn first, as DICOM and as PNG, and ingested with raw pixels, the form in which plain
readers are fastest. Everything is warm but what is called cold: processes run, files are in the page cache. In a round
each loader goes through one epoch; a figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from plain_loader import DicomFilms, PlainFilms, PngFilms, ShardFilms
from s3_server import S3Server
from torch.utils.data import DataLoader

from raycxr.cluster.connection import connected
from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.films import Films, open_splits, shard_paths
from raycxr.dataset.ingest import ingest, run_here
from raycxr.dataset.loader import TrainSampler
from raycxr.dataset.torch_loader import TorchLoader
from raycxr.storage.location import Location
from raycxr.training.config_check import epoch_order

RAYCXR = str(Path(sys.executable).parent / "raycxr")
BUCKET = "bench"
EPOCHS_WITH_RAY = 8
# Goes through one epoch and returns how many films came.
Epoch = Callable[[], int]


def add_command(commands: Any) -> None:
    """Add `loader` to a parser's sub-commands."""
    parser = commands.add_parser("loader", help="films per second of the loaders")
    parser.add_argument("--films", type=int, default=320)
    parser.add_argument("--size", type=int, default=512, help="pixels of the data set's films")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2, help="loading processes of each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--augment", default="standard", help="preset of augmentation")
    parser.add_argument("--s3", action="store_true", help="take cold shards from an S3 server on this machine")
    parser.set_defaults(measure=measure)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Films per second, and their ratios."""
    with tempfile.TemporaryDirectory() as scratch, storage(options, Path(scratch)) as place:
        folder = Path(scratch)
        config = prepared(options, folder, place)
        local = config.model_copy(update={"dataset": config.dataset.model_copy(update={"uri": str(folder / "data")})})
        augmentation = Augmentation(config.augment, 0, options.size)
        ways: dict[str, Epoch] = {
            "ours": our_epochs(local, options),
            "plain_shards": plain_epochs(ShardFilms(folder / "data", augmentation), options),
            "plain_dicom": plain_epochs(DicomFilms(folder / "dicom", options.size, augmentation), options),
            "plain_png": plain_epochs(PngFilms(folder / "png", options.size, augmentation), options),
        }
        rates = in_turn(ways, options.rounds)
        cold: dict[str, list[float]] = {"first": [], "second": []}
        for number in range(options.rounds):
            first, second = cold_epochs(config, folder / f"cache{number}", options)
            cold["first"].append(first)
            cold["second"].append(second)
        with connected(None):
            ray: dict[str, list[float]] = {"torch": [], "ray": []}
            for number in range(options.rounds + 1):
                pair = (rate(several(ways["ours"])), ray_rate(local))
                # The first round starts the processes.
                if number:
                    ray["torch"].append(pair[0])
                    ray["ray"].append(pair[1])
    return {
        "films": options.films,
        "size": options.size,
        "batch": options.batch,
        "processes": options.processes,
        "augment": options.augment,
        "cold_shards_from": "S3 on this machine" if options.s3 else "local disk",
        "films_per_second": {name: statistics.median(values) for name, values in (rates | cold).items()},
        "ours_to_plain_shards": ratio(rates["ours"], rates["plain_shards"]),
        "ours_to_plain_dicom": ratio(rates["ours"], rates["plain_dicom"]),
        "ours_to_plain_png": ratio(rates["ours"], rates["plain_png"]),
        "later_epochs_to_first": ratio(cold["second"], cold["first"]),
        "ray_to_torch": ratio(ray["ray"], ray["torch"]),
        "all": rates | cold | {f"{name}_beside_ray": values for name, values in ray.items()},
    }


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the rounds of the quotient within a round: other work on the machine slows both."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def in_turn(ways: dict[str, Epoch], rounds: int) -> dict[str, list[float]]:
    """Films per second of every way in every round, after an epoch that starts the processes."""
    for epoch in ways.values():
        epoch()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, epoch in ways.items():
            rates[name].append(rate(epoch))
    return rates


def rate(epoch: Epoch) -> float:
    started = time.perf_counter()
    films = epoch()
    return films / (time.perf_counter() - started)


def sampler_of(config: Config) -> TrainSampler:
    return TrainSampler(epoch_order(config, open_splits(config)), config.train.batch_size, 1, 0, 1)


def our_epochs(config: Config, options: argparse.Namespace) -> Epoch:
    splits, sampler = open_splits(config), sampler_of(config)
    augmentation = Augmentation(config.augment, 0, options.size)
    films = Films(splits.annotated("train"), shard_paths(splits, config.dataset.cache), augmentation)
    return counted(TorchLoader(films, sampler, options.processes, False), sampler)


def several(epoch: Epoch) -> Epoch:
    return lambda: sum(epoch() for _ in range(EPOCHS_WITH_RAY))


def ray_rate(config: Config) -> float:
    """Films per second of a whole stream, its start included: Ray reads ahead, so that one epoch tells little."""
    from raycxr.training.ray_loader import RayLoader

    train = config.train.model_copy(update={"epochs": EPOCHS_WITH_RAY})
    sampler = sampler_of(config)
    loader = RayLoader(config.model_copy(update={"train": train}), open_splits(config), sampler, False)
    films = rate(several(counted(loader, sampler)))
    loader.close()
    return films


def counted(loader: Iterable[Any], sampler: TrainSampler) -> Epoch:
    def epoch() -> int:
        sampler.epoch += 1
        return sum(len(batch) for batch in loader)

    return epoch


def plain_epochs(films: PlainFilms, options: argparse.Namespace) -> Epoch:
    loader = DataLoader(films, options.batch, shuffle=True, num_workers=options.processes, persistent_workers=True)
    return lambda: sum(len(images) for images, _ in loader)


def cold_epochs(config: Config, cache: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Films per second of an epoch whose shards have to be fetched and unpacked, and of the one after it."""
    dataset = config.dataset.model_copy(update={"cache": str(cache)})
    epoch = our_epochs(config.model_copy(update={"dataset": dataset}), options)
    return rate(epoch), rate(epoch)


@contextmanager
def storage(options: argparse.Namespace, folder: Path) -> Iterator[Location]:
    """Where the cold shards come from."""
    server = S3Server(folder / "s3") if options.s3 else nullcontext()
    with server:
        if isinstance(server, S3Server):
            os.environ.update(server.environment)
            server.create_bucket(BUCKET)
            yield Location(f"s3://{BUCKET}/data")
        else:
            yield Location(folder / "data")


def prepared(options: argparse.Namespace, folder: Path, place: Location) -> Config:
    """Draw the films in both layouts, ingest them, and copy the data set to where cold shards come from."""
    for layout in ("siim-dicom", "siim-png"):
        command = [RAYCXR, "synth", layout, "--out", str(folder / layout), "--count", str(options.films)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.move(folder / "siim-dicom", folder / "dicom")
    shutil.move(folder / "siim-png", folder / "png")
    path = folder / "bench.yaml"
    path.write_text(f"""
ingest:
  source: siim-dicom
  images: {folder / "dicom" / "dicom-images-train"}
  masks: {folder / "dicom" / "train-rle.csv"}
  size: {options.size}
  codec: raw
  out: {folder / "data"}
dataset: {{split: {{rule: fraction, train: 1, validation: 0, test: 0}}, cache: {folder / "cache"}}}
augment: {{preset: {options.augment}}}
train: {{batch_size: {options.batch}, epochs: 1000}}
""")
    config = load_config(path)
    ingest(config, run_here, lambda done, total: None)
    if options.s3:
        for file in sorted((folder / "data").rglob("*")):
            if file.is_file():
                (place / file.relative_to(folder / "data").as_posix()).copy_from(file)
    return config.model_copy(update={"dataset": config.dataset.model_copy(update={"uri": place.uri})})
