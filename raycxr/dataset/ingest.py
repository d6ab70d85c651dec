"""Ingest: raw films in any layout -> verified shards, with Ray Data or in this process.

Every shard is one task (`raycxr.dataset.shard_task`) that leaves a note under `parts/`. A killed ingest finds the notes
and goes on; `manifest.json` comes last, and only then the notes go. A second call over a source that has grown adds
shards of the new films and leaves those that are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from raycxr.config.dataset import SplitSection
from raycxr.config.sections import Config
from raycxr.dataset.convert import Rules, film_fingerprint
from raycxr.dataset.generation import Generation, read_generation
from raycxr.dataset.leftovers import check_own_folder, clear_leftovers, find_unfinished
from raycxr.dataset.manifest import (
    MANIFEST,
    Manifest,
    ShardEntry,
    check_shards,
)
from raycxr.dataset.plan import Plan, ShardPlan, build_plan, build_rules, reject_strange_names
from raycxr.dataset.publication import publish_data_set
from raycxr.dataset.shard_task import PARTS, write_shard
from raycxr.dataset.split import check_divisible
from raycxr.errors import ConfigurationError, DataError
from raycxr.sources.film import Listing
from raycxr.sources.patient_key import KEY_VARIABLE
from raycxr.storage.check import check_writable
from raycxr.storage.location import Location
from raycxr.storage.patience import first_contact

Progress = Callable[[int, int], object]
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

    Where it is there already, films are added that are new, and those read again that were rejected: somebody may have
    mended them.

    Parameters
    ----------
    config : Config
        With an `ingest` section.
    run : Runner
        `run_here`, or `raycxr.dataset.ray_ingest.run_on_ray`.
    progress : callable
        Called with the number of films dealt with so far, and of all.

    Raises
    ------
    ConfigurationError, DataError, StorageError
        Nothing to ingest, another data set in the way (or this one, with films that are gone or changed), no right to
        write, every film rejected, an empty class.
    """
    if config.ingest is None:
        raise ConfigurationError("the configuration has no section 'ingest'", "add ingest.source, .images and .out")
    section, split = config.ingest, config.dataset.split or SplitSection()
    out = Location(section.out)
    rules = build_rules(section)
    _check_reachable(Location(section.images), out)
    listing = reject_strange_names(rules.source.list())
    before = read_generation(out)
    unfinished = find_unfinished(out)
    if before.manifest is None:
        check_own_folder(out)
    else:
        check_shards(out, before.manifest.shards + before.manifest.masks)
    plan = build_plan(listing, rules, section, before.films, len(before.shards))
    if before.manifest is not None:
        _check_same(out, before, listing, plan, rules, split)
    check_divisible({film.id: film.split for film in listing.films}, split)
    if plan.shards or not (out / MANIFEST).exists():
        check_writable(out)
    notes = _finished_parts(out)
    parts = [notes[shard.fingerprint] for shard in plan.shards if shard.fingerprint in notes]
    skipped = len(before.index) + sum(len(part["index"]) + len(part["rejects"]) for part in parts)
    done, listed = skipped, len(listing.films)
    progress(done, listed)
    todo = [shard for shard in plan.shards if shard.fingerprint not in notes]
    if todo:
        for part in run(todo, rules, out):
            parts.append(part)
            done += len(part["index"]) + len(part["rejects"])
            progress(done, listed)
    parts.sort(key=lambda part: part["number"])
    rejects = _rejects(parts, listing)
    # A shard of which every film was rejected holds nothing, and is no part of the data set.
    parts = [part for part in parts if part["index"]]
    index = _index(before, parts)
    if before.manifest is not None and (out / MANIFEST).exists() and (index, rejects) == (before.index, before.rejects):
        manifest = before.manifest
    else:
        manifest = publish_data_set(out, before, parts, index, rejects, plan, rules, section, split)
    clear_leftovers(out, manifest, unfinished)
    return _summary(out, manifest, skipped, rejects)


def run_here(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
    """Convert shards one after the other in this process."""
    for plan in plans:
        yield write_shard(plan, rules, out)


def _check_reachable(*locations: Location) -> None:
    """Ask each server for its place once; what is there is for others to say."""
    with first_contact():
        for location in locations:
            location.is_dir()


def _finished_parts(out: Location) -> dict[str, dict[str, Any]]:
    """Notes that an earlier, killed ingest left, by fingerprint."""
    if not (out / PARTS).is_dir():
        return {}
    parts = {}
    for note in (out / PARTS).list():
        if note.suffix == ".json":
            # A note that is damaged, or whose shard has been lost since, is as good as none.
            with suppress(ValueError, KeyError, TypeError, DataError):
                part = json.loads(note.read_text())
                check_shards(out, [ShardEntry(**part["shard"]), ShardEntry(**part["mask"])])
                parts[part["fingerprint"]] = part
    return parts


def _check_same(
    out: Location, before: Generation, listing: Listing, plan: Plan, rules: Rules, split: SplitSection
) -> None:
    """Refuse to mix: what is there must have been made by the same rules, from films that are all still the same."""
    assert before.manifest is not None
    remedy = "choose another ingest.out, or delete that one"
    if before.manifest.patient_key != rules.patient_key and before.manifest.source == rules.source_name:
        raise DataError(
            f"the patients in {out} were hashed with another key",
            f"set ${KEY_VARIABLE} to the key of whoever made it, or choose another ingest.out",
        )
    if before.manifest.rules != plan.rules:
        raise DataError(f"{out} already holds a data set with other settings", remedy)
    listed = {film.id: film_fingerprint(film, rules.roots) for film in listing.films}
    other = [row["id"] for row in before.index if listed.get(row["id"]) != row["listed_sha256"]]
    if other:
        gone, have = ("is gone", "has") if len(other) == 1 else ("are gone", "have")
        raise DataError(
            f"{out} already holds a data set of other films: {len(other)} of its {len(before.index)} {gone} from the "
            f"source or {have} other files now, for example {other[0]}",
            remedy,
        )
    if before.manifest.split != split:
        raise DataError(
            f"{out} was divided by another split rule", f"give dataset.split to train and evaluate, {remedy}"
        )


def _rejects(parts: list[dict[str, Any]], listing: Listing) -> list[dict[str, str]]:
    """Rows of the rejects: by the listing, and by the conversion."""
    rejects = [asdict(reject) for reject in listing.rejects] + [row for part in parts for row in part["rejects"]]
    return sorted(rejects, key=lambda row: (row["original"], row["reason"]))


def _index(before: Generation, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the index: the old ones, and those of the new shards by their places in the manifest."""
    new = [{**row, "shard": place} for place, part in enumerate(parts, len(before.shards)) for row in part["index"]]
    return before.index + new


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
