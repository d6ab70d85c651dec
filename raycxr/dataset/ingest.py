"""Ingest: raw films in any layout -> verified shards, with Ray Data or in this process.

Every shard is one task that reads, decodes, converts and writes its films, and then leaves a note under `parts/`.
A killed ingest finds the notes and goes on; `manifest.json` comes last, and only then the notes go.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import raycxr
from raycxr.config.sections import Config, IngestSection, SplitSection
from raycxr.dataset.convert import Converted, Originals, Rules, convert_film, read_originals
from raycxr.dataset.manifest import (
    INDEX,
    INDEX_SCHEMA,
    MANIFEST,
    REJECT_SCHEMA,
    REJECTS,
    Counts,
    Geometry,
    Manifest,
    ShardEntry,
    read_manifest,
    read_rejects,
    write_rows,
)
from raycxr.dataset.plan import Plan, ShardPlan, build_plan, build_rules
from raycxr.dataset.shard import FILM_SCHEMA, MASK_SCHEMA, encode_table
from raycxr.dataset.split import assign_splits
from raycxr.errors import ConfigurationError, DataError, RaycxrError, StorageError
from raycxr.sources.film import Film, Listing, Reject
from raycxr.storage.check import check_writable
from raycxr.storage.failures import MissingError
from raycxr.storage.location import Location

PARTS = "parts"
# Files of a shard that are being read while others are converted: hides the latency of object storage.
READERS = 4

Progress = Callable[[int], object]
# Runs a shard's task for every plan and yields the parts in any order.
Runner = Callable[[Sequence[ShardPlan], Rules, Location], Iterable[dict[str, Any]]]


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did. `skipped` films were there already; `rejects` are rows of original, reason and detail."""

    dataset: str
    id: str
    images: int
    rejected: int
    shards: int
    skipped: int
    rejects: list[dict[str, str]]
    manifest: Manifest


def ingest(config: Config, run: Runner, progress: Progress) -> IngestSummary:
    """Write the data set that a configuration describes.

    Parameters
    ----------
    config : Config
        With an `ingest` section.
    run : Runner
        `run_here`, or `raycxr.dataset.ray_ingest.run_on_ray`.
    progress : callable
        Called with the number of films that have been dealt with since the last call.

    Raises
    ------
    ConfigurationError, DataError, StorageError
        Nothing to ingest, another data set in the way, no right to write, every film rejected, an empty class.
    """
    if config.ingest is None:
        raise ConfigurationError("the configuration has no section 'ingest'", "add ingest.source, .images and .out")
    section, split = config.ingest, config.dataset.split or SplitSection()
    out = Location(section.out)
    rules = build_rules(section)
    listing = rules.source.list()
    plan = build_plan(listing, rules, section)
    if (out / MANIFEST).exists():
        return _already_there(out, plan, split)
    check_writable(out)
    notes = _finished_parts(out)
    parts = [notes[shard.fingerprint] for shard in plan.shards if shard.fingerprint in notes]
    skipped = sum(len(part["index"]) + len(part["rejects"]) for part in parts)
    progress(skipped)
    todo = [shard for shard in plan.shards if shard.fingerprint not in notes]
    if todo:
        for part in run(todo, rules, out):
            parts.append(part)
            progress(len(part["index"]) + len(part["rejects"]))
    parts.sort(key=lambda part: part["number"])
    manifest, rejects = _publish(out, parts, listing, plan, rules, section, split)
    return _summary(out, manifest, skipped, rejects)


def run_here(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
    """Convert shards one after the other in this process."""
    for plan in plans:
        yield write_shard(plan, rules, out)


def write_shard(plan: ShardPlan, rules: Rules, out: Location) -> dict[str, Any]:
    """Convert the films of one shard, write its files and its note, and return the note."""
    converted: list[Converted] = []
    rejects: list[Reject] = []
    with ThreadPoolExecutor(READERS) as readers:
        for film, originals in zip(plan.films, readers.map(_try_read, plan.films), strict=True):
            result = _convert(film, originals, rules)
            if isinstance(result, Converted):
                converted.append(result)
            else:
                rejects.append(result)
    name = f"{plan.number:05d}.parquet"
    films = encode_table([item.film for item in converted], FILM_SCHEMA)
    masks = encode_table([item.mask for item in converted if item.mask is not None], MASK_SCHEMA)
    (out / "shards" / name).write_bytes(films)
    (out / "masks" / name).write_bytes(masks)
    for row, item in enumerate(converted):
        item.index.update(shard=plan.number, row=row)
    part = {
        "fingerprint": plan.fingerprint,
        "number": plan.number,
        "shard": _entry(f"shards/{name}", len(converted), films),
        "mask": _entry(f"masks/{name}", sum(item.mask is not None for item in converted), masks),
        "index": [item.index for item in converted],
        "rejects": [asdict(reject) for reject in rejects],
    }
    (out / PARTS / f"{plan.number:05d}.json").write_text(json.dumps(part))
    return part


def _try_read(film: Film) -> Originals | Reject:
    try:
        return read_originals(film)
    except MissingError as error:
        return Reject(film.uri, "file_missing", error.message)
    except StorageError as error:
        # A local file that cannot be read is a bad film; object storage that still fails after its retries is an
        # outage, and turning it into thousands of rejects would publish a data set without them.
        if not Location(film.uri).is_local:
            raise
        return Reject(film.uri, "file_unreadable", error.message)


def _convert(film: Film, originals: Originals | Reject, rules: Rules) -> Converted | Reject:
    if isinstance(originals, Reject):
        return originals
    try:
        return convert_film(film, originals, rules)
    except RaycxrError:
        raise
    except Exception as error:  # decoders fail in many ways, and one bad film must never stop the rest
        return Reject(film.uri, "unexpected", f"{type(error).__name__}: {error}")


def _entry(name: str, rows: int, data: bytes) -> dict[str, Any]:
    return {"name": name, "rows": rows, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _finished_parts(out: Location) -> dict[str, dict[str, Any]]:
    """Notes that an earlier, killed ingest left, by fingerprint."""
    if not (out / PARTS).is_dir():
        return {}
    parts = [json.loads(note.read_text()) for note in (out / PARTS).list()]
    return {part["fingerprint"]: part for part in parts}


def _already_there(out: Location, plan: Plan, split: SplitSection) -> IngestSummary:
    manifest = read_manifest(out)
    if manifest.fingerprint != plan.fingerprint:
        raise DataError(
            f"{out} already holds a data set of other films or with other settings",
            "choose another ingest.out, or delete that one",
        )
    if manifest.split != split:
        raise DataError(
            f"{out} was divided by another split rule",
            "give dataset.split to train and evaluate, choose another ingest.out, or delete that one",
        )
    return _summary(out, manifest, manifest.counts.listed, read_rejects(out))


def _publish(
    out: Location,
    parts: list[dict[str, Any]],
    listing: Listing,
    plan: Plan,
    rules: Rules,
    section: IngestSection,
    split: SplitSection,
) -> tuple[Manifest, list[dict[str, str]]]:
    index = [row for part in parts for row in part["index"]]
    rejects = [asdict(reject) for reject in listing.rejects] + [row for part in parts for row in part["rejects"]]
    _check_contents(index, rejects, rules, out)
    splits = assign_splits(index, split)
    for row in index:
        row["split"] = splits[row["id"]]
    rejects.sort(key=lambda row: (row["original"], row["reason"]))
    write_rows(out / INDEX, index, INDEX_SCHEMA)
    write_rows(out / REJECTS, rejects, REJECT_SCHEMA)
    manifest = Manifest(
        raycxr=raycxr.__version__,
        source=rules.source_name,
        classes=tuple(rules.structures),
        structures=dict(rules.structures),
        geometry=Geometry(size=rules.size),
        intensity=section.intensity,
        decoder=rules.source.decoder,
        counts=Counts(
            listed=len(index) + len(rejects),
            images=len(index),
            rejected=len(rejects),
            annotated=sum(row["annotated"] for row in index),
        ),
        shards=tuple(ShardEntry(**part["shard"]) for part in parts),
        masks=tuple(ShardEntry(**part["mask"]) for part in parts),
        split=split,
        fingerprint=plan.fingerprint,
        id=_content_id(index, rules, section),
    )
    (out / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    (out / PARTS).delete_tree()
    return manifest, rejects


def _check_contents(index: list[dict[str, Any]], rejects: list[dict[str, str]], rules: Rules, out: Location) -> None:
    if not index:
        reason, count = Counter(row["reason"] for row in rejects).most_common(1)[0]
        example = next(row for row in rejects if row["reason"] == reason)
        raise DataError(
            f"all {len(rejects)} films were rejected, {count} as {reason}: {example['original']}: {example['detail']}",
            "mend the films, or ingest.images and ingest.masks",
        )
    annotated = [row["pixels"] for row in index if row["annotated"]]
    for bit, name in enumerate(rules.structures):
        if annotated and not any(pixels[bit] for pixels in annotated):
            raise DataError(
                f"class {name!r} has no pixel in any of {len(annotated)} annotated films; {out} was not published",
                "check ingest.classes and the masks, or leave the class out",
            )


def _content_id(index: list[dict[str, Any]], rules: Rules, section: IngestSection) -> str:
    contents = {
        "films": [[row["id"], row["patient"], row["labels"], row["sha256"], row["masks_sha256"]] for row in index],
        "structures": [[name, list(parts)] for name, parts in rules.structures.items()],
        "inverted": section.inverted,
        "size": rules.size,
        "intensity": section.intensity.model_dump(),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16]


def _summary(out: Location, manifest: Manifest, skipped: int, rejects: list[dict[str, str]]) -> IngestSummary:
    counts = manifest.counts
    return IngestSummary(
        out.uri,
        manifest.id,
        counts.images,
        counts.rejected,
        len(manifest.shards),
        skipped,
        rejects,
        manifest,
    )
