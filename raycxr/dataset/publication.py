"""The end of an ingest: index, rejects and manifest of a data set whose shards are all there."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import raycxr
from raycxr.config.dataset import SplitSection
from raycxr.config.ingest import IngestSection
from raycxr.dataset.convert import Rules
from raycxr.dataset.generation import Generation, put_back, read_current_manifest, set_aside
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
    write_rows,
)
from raycxr.dataset.plan import Plan
from raycxr.dataset.shard_task import PARTS
from raycxr.dataset.split import assign_splits
from raycxr.errors import DataError, StorageError
from raycxr.number_text import count
from raycxr.storage.location import Location


def publish_data_set(
    out: Location,
    before: Generation,
    parts: list[dict[str, Any]],
    index: list[dict[str, Any]],
    rejects: list[dict[str, str]],
    plan: Plan,
    rules: Rules,
    section: IngestSection,
    split: SplitSection,
) -> Manifest:
    """Write index, table of rejects and, last, the manifest of a data set whose shards are all there.

    Parameters
    ----------
    out : Location
        Folder of the data set.
    before : Generation
        What it held before.
    parts : list of dict
        Notes of the shards that are new.
    index, rejects : list of dict
        Rows of all films, old and new; the splits are entered into the index.

    Raises
    ------
    DataError
        No film is left, a class has no pixel, or another ingest has published meanwhile.
    StorageError
        Something could not be written; what was there before is put back.
    """
    try:
        _check_contents(index, rejects, rules, out)
    except DataError:
        # Whoever mends the films does not want to hear the same again from notes of what was wrong with them.
        (out / PARTS).delete_tree()
        raise
    splits = assign_splits(index, split, {row["id"]: row["split"] for row in before.index})
    for row in index:
        row["split"] = splits[row["id"]]
    manifest = Manifest(
        raycxr=raycxr.__version__,
        source=rules.source_name,
        classes=tuple(rules.structures),
        structures=dict(rules.structures),
        geometry=Geometry(size=rules.size),
        intensity=section.intensity,
        codec=section.codec,
        decoder=_decoders(before, rules.source.decoder),
        counts=Counts(
            listed=len(index) + len(rejects),
            images=len(index),
            rejected=len(rejects),
            annotated=sum(row["annotated"] for row in index),
        ),
        shards=before.shards + tuple(ShardEntry(**part["shard"]) for part in parts),
        masks=before.masks + tuple(ShardEntry(**part["mask"]) for part in parts),
        split=split,
        patient_key=rules.patient_key,
        rules=plan.rules,
        id=_content_id(index, rules, section),
    )
    if read_current_manifest(out) != before.manifest:
        raise DataError(f"another ingest has published {out} in the meantime", "run the same again")
    set_aside(out, before)
    try:
        write_rows(out / INDEX, index, INDEX_SCHEMA)
        write_rows(out / REJECTS, rejects, REJECT_SCHEMA)
        (out / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    except StorageError:
        put_back(out, before)
        raise
    return manifest


def _decoders(before: Generation, now: str) -> str:
    """What has decoded the films: a data set may have grown after an upgrade."""
    earlier = before.manifest.decoder if before.manifest else now
    return earlier if earlier.endswith(now) else f"{earlier}; later {now}"


def _check_contents(index: list[dict[str, Any]], rejects: list[dict[str, str]], rules: Rules, out: Location) -> None:
    if not index:
        reason, most = Counter(row["reason"] for row in rejects).most_common(1)[0]
        example = next(row for row in rejects if row["reason"] == reason)
        all_of_them = "the only film was" if len(rejects) == 1 else f"all {len(rejects)} films were"
        raise DataError(
            f"{all_of_them} rejected, {most} as {reason}: {example['original']}: {example['detail']}",
            "mend the films, or ingest.images and ingest.masks",
        )
    annotated = [row["pixels"] for row in index if row["annotated"]]
    for bit, name in enumerate(rules.structures):
        if annotated and not any(pixels[bit] for pixels in annotated):
            raise DataError(
                f"class {name!r} has no pixel in {count(len(annotated), 'annotated film')}; {out} was not published",
                "check ingest.classes and the masks, or leave the class out",
            )


def _content_id(index: list[dict[str, Any]], rules: Rules, section: IngestSection) -> str:
    contents = {
        # By id, so that a data set that has grown is the same as one that was written at once.
        "films": sorted([row["id"], row["labels"], row["sha256"], row["masks_sha256"]] for row in index),
        "structures": [[name, list(parts)] for name, parts in rules.structures.items()],
        "inverted": section.inverted,
        "size": rules.size,
        "intensity": section.intensity.model_dump(),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16]
