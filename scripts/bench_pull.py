"""How fast a bundle comes out of S3: `raycxr`'s verified fetch against plain `download_file` of boto3, side by side.

    python scripts/bench_pull.py --rounds 7 --megabytes 100

A true S3 server (scripts/s3_server.py) on this machine holds one bundle. In every round each way brings all of its
files into a new folder, and who begins changes from round to round, so that a noisy machine disturbs both alike; the
connections are open before. raycxr verifies every SHA-256 and waits until the disk has the bytes, boto3 does neither.
Prints the ratio of the median speeds, and one JSON document.
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
from collections.abc import Callable
from pathlib import Path

import boto3
from s3_server import REGION, S3Server

from raycxr.config.load import to_yaml
from raycxr.config.sections import Config
from raycxr.runs.bundle import pull_bundle, write_bundle
from raycxr.storage.location import Location

BUCKET = "bench"
RAYCXR = str(Path(sys.executable).parent / "raycxr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, S3Server(Path(folder, "s3")) as server:
        os.environ.update(server.environment)
        server.create_bucket(BUCKET)
        bundle = Location(f"s3://{BUCKET}/runs/bench/best")
        write(bundle, arguments.megabytes * 1_000_000)
        ways: dict[str, Callable[[Path], None]] = {"plain": plain_download(bundle, server), "raycxr": fetch(bundle)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(-1, arguments.rounds):
            for name in list(ways) if number % 2 else list(reversed(ways)):
                taken = timed(ways[name], Path(folder, f"{name}{number}"))
                if number >= 0:  # the round before the first opens the connections
                    seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "raycxr_to_plain": medians["plain"] / medians["raycxr"],
        "megabytes_per_second": {name: arguments.megabytes / value for name, value in medians.items()},
        "load_average": os.getloadavg(),
        "all_seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
    }
    print(f"raycxr has {result['raycxr_to_plain']:.2f} times the speed of boto3's download_file", file=sys.stderr)
    print(json.dumps(result, indent=2))


def write(bundle: Location, size: int) -> None:
    rules = {"classes": ["lungs"], "size": 256, "intensity": {"rule": "keep"}, "rules": {"lungs": {"threshold": 0.5}}}
    metrics = {"epoch": 1, "split": "validation", "metrics": {"dice": {"lungs": 0.9, "mean": 0.9}}}
    write_bundle(bundle, os.urandom(size), to_yaml(Config()), metrics, rules, "a card")


def fetch(bundle: Location) -> Callable[[Path], None]:
    return lambda folder: pull_bundle(bundle, folder)


def plain_download(bundle: Location, server: S3Server) -> Callable[[Path], None]:
    client = boto3.session.Session().client("s3", endpoint_url=server.endpoint, region_name=REGION)
    prefix = bundle.uri.removeprefix(f"s3://{BUCKET}/")
    names = [file.name for file in bundle.list()]

    def download(folder: Path) -> None:
        folder.mkdir()
        for name in names:
            client.download_file(BUCKET, f"{prefix}/{name}", str(folder / name))

    return download


def timed(bring: Callable[[Path], None], folder: Path) -> float:
    subprocess.run(["sync"], check=True)
    began = time.perf_counter()
    bring(folder)
    taken = time.perf_counter() - began
    subprocess.run(["rm", "-r", folder], check=True)
    return taken


if __name__ == "__main__":
    main()
