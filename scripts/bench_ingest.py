"""Ingest against a hand-written pool of processes and a loop with pydicom; its memory; and object storage.

    python scripts/bench_ingest.py --films 2000                      # throughput, the ways in turn
    python scripts/bench_ingest.py --memory 1200 12047               # peak memory of the whole process tree
    python scripts/bench_ingest.py --films 2000 --s3 s3://bucket/x   # the same films from a bucket and from disk

Draws SIIM-like DICOMs first (or takes them from --data, a folder or prefix that an earlier call has filled).
Everything is warm: the pool's processes run, and Ray's workers have ingested a first data set. Rounds alternate, and a
figure is the median over the rounds. Prints ratios and one JSON document.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pydicom
from plain_ingest import read_table, write_shard
from process_tree import processor_seconds, watched

from raycxr.cluster.connection import connected
from raycxr.config.ingest import IngestSection
from raycxr.config.sections import Config
from raycxr.dataset.ingest import ingest
from raycxr.dataset.plan import SHARD_BYTES
from raycxr.storage.location import Location
from raycxr.xray.dicom import decode_dicom

TREE = "dicom-images-train"
TABLE = "train-rle.csv"
RAYCXR = str(Path(sys.executable).parent / "raycxr")
WARM_UP = 64
LOOP_FILMS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--size", type=int, default=512, help="pixels of the data set's films")
    parser.add_argument("--codec", default="rowdelta+zstd")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--data", type=Path, help="folder of the films (with --memory, of MANY); drawn if missing")
    parser.add_argument("--memory", type=int, nargs=2, metavar=("FEW", "MANY"), help="measure memory instead")
    parser.add_argument("--s3", help="prefix of a bucket with the same films, which are copied there if it is empty")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.memory:
            result = memory(options, folder)
        elif options.s3:
            result = object_storage(options, folder)
        else:
            result = throughput(options, folder)
    print(json.dumps(result, indent=2))


def throughput(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Films per second of the pool, of Ray Data, of a loop in one process, and of decoding alone."""
    data, few = drawn(options.data or folder / "films", options.films), drawn(folder / "few", WARM_UP)
    rates: dict[str, list[float]] = {name: [] for name in ("pool", "raycxr", "loop", "decode_pydicom", "decode_raycxr")}
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.processes) as pool, connected(None):
        pool_rate(pool, few, folder / "warm", options)
        raycxr_rate(str(few), folder / "warm-ray", options)
        for number in range(options.rounds):
            rates["pool"].append(pool_rate(pool, data, folder / f"pool{number}", options))
            rates["raycxr"].append(raycxr_rate(str(data), folder / f"ray{number}", options))
            rates["loop"].append(loop_rate(data, folder / f"loop{number}", options))
            for name, rate in zip(("decode_pydicom", "decode_raycxr"), decoding_rates(data), strict=True):
                rates[name].append(rate)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "films": options.films,
        "size": options.size,
        "codec": options.codec,
        "films_per_second": medians,
        "raycxr_to_pool": medians["raycxr"] / medians["pool"],
        "raycxr_to_loop": medians["raycxr"] / medians["loop"],
        "decoding_to_pydicom": medians["decode_raycxr"] / medians["decode_pydicom"],
        "all": rates,
    }


def object_storage(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Films per second from a bucket and from disk, and milliseconds of processor time that a film takes us.

    A server on the same machine takes processor time for itself, which the second figure leaves out.
    """
    data = drawn(options.data or folder / "films", options.films)
    if not (Location(options.s3) / TABLE).exists():
        copy_to_bucket(data, options.s3)
    few = drawn(folder / "few", WARM_UP)
    rates: dict[str, list[float]] = {"local": [], "s3": []}
    costs: dict[str, list[float]] = {"local": [], "s3": []}
    with connected(None):
        raycxr_rate(str(few), folder / "warm-ray", options)
        for number in range(options.rounds):
            for name, place in (("local", str(data)), ("s3", options.s3)):
                before, started = processor_seconds(os.getpid()), time.perf_counter()
                rates[name].append(raycxr_rate(place, folder / f"{name}{number}", options))
                films = rates[name][-1] * (time.perf_counter() - started)
                costs[name].append(1000 * (processor_seconds(os.getpid()) - before) / films)
    speed, cost = ({name: statistics.median(values) for name, values in each.items()} for each in (rates, costs))
    return {
        "films_per_second": speed,
        "s3_to_local": speed["s3"] / speed["local"],
        "processor_milliseconds_per_film": cost,
        "local_to_s3_processor": cost["local"] / cost["s3"],
    }


def memory(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Peak of the proportional set size of `raycxr ingest` and all of its processes, in megabytes."""
    peaks = {}
    few, many = options.memory
    for count in (few, many):
        data = drawn(options.data if options.data and count == many else folder / f"films{count}", count)
        config = folder / f"ingest{count}.yaml"
        config.write_text(json.dumps({"ingest": section(str(data), folder / f"out{count}", options).model_dump()}))
        process = subprocess.Popen([RAYCXR, "ingest", str(config)], stdout=subprocess.DEVNULL)
        with watched(process.pid) as peak:
            if process.wait() != 0:
                raise SystemExit("raycxr ingest failed")
        peaks[count] = peak[0] / 2**20
    return {"peak_megabytes": peaks, "many_to_few": peaks[many] / peaks[few]}


def drawn(folder: Path, count: int) -> Path:
    """Folder with at least so many films."""
    if not folder.exists():
        command = [RAYCXR, "synth", "siim-dicom", "--out", str(folder), "--count", str(count)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def copy_to_bucket(data: Path, uri: str) -> None:
    for file in sorted(data.rglob("*")):
        if file.is_file():
            (Location(uri) / file.relative_to(data).as_posix()).copy_from(file)


def section(data: str, out: Path, options: argparse.Namespace) -> IngestSection:
    values = {"source": "siim-dicom", "images": f"{data}/{TREE}", "masks": f"{data}/{TABLE}", "out": str(out)}
    return IngestSection.model_validate({**values, "size": options.size, "codec": options.codec})


def raycxr_rate(data: str, out: Path, options: argparse.Namespace) -> float:
    """Films per second of `raycxr ingest` on the connected Ray, listing and publishing included."""
    from raycxr.dataset.ray_ingest import run_on_ray

    started = time.perf_counter()
    summary = ingest(Config(ingest=section(data, out, options)), run_on_ray, lambda done, total: None)
    seconds = time.perf_counter() - started
    if summary.rejected:
        raise SystemExit(f"{summary.rejected} films were rejected: {summary.rejects[0]}")
    shutil.rmtree(out)
    return summary.images / seconds


def pool_rate(pool: multiprocessing.pool.Pool, data: Path, out: Path, options: argparse.Namespace) -> float:
    """Films per second of the hand-written pool, listing included."""
    started = time.perf_counter()
    out.mkdir()
    table = read_table(data / TABLE)
    films = [(path, table[path.stem]) for path in sorted((data / TREE).rglob("*.dcm"))]
    step = min(SHARD_BYTES // options.size**2, max(16, -(-len(films) // 8)))
    parts = [films[at : at + step] for at in range(0, len(films), step)]
    tasks = [(number, part, out, options.size, options.codec, False) for number, part in enumerate(parts)]
    done = sum(pool.imap_unordered(write_shard, tasks))
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return done / seconds


def loop_rate(data: Path, out: Path, options: argparse.Namespace) -> float:
    """Films per second of one process that writes the same with pydicom's `pixel_array`, of some of the films."""
    out.mkdir()
    table = read_table(data / TABLE)
    films = [(path, table[path.stem]) for path in sorted((data / TREE).rglob("*.dcm"))[:LOOP_FILMS]]
    started = time.perf_counter()
    done = write_shard((0, films, out, options.size, options.codec, True))
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return done / seconds


def decoding_rates(data: Path) -> tuple[float, float]:
    """Films per second that one process only decodes: with pydicom's `pixel_array`, and as ingest does."""
    films = [path.read_bytes() for path in sorted((data / TREE).rglob("*.dcm"))[:LOOP_FILMS]]
    started = time.perf_counter()
    for film in films:
        _ = pydicom.dcmread(io.BytesIO(film)).pixel_array
    between = time.perf_counter()
    for film in films:
        decode_dicom(film)
    return len(films) / (between - started), len(films) / (time.perf_counter() - between)


if __name__ == "__main__":
    main()
