"""The plan of an ingest: which films go into which shard, fixed before the first one is read.

The plan follows from the listing and the rules alone, so the order of rows never depends on the number of workers,
and a shard that a killed ingest has finished is recognised and kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from raycxr.config.ingest import IngestSection, IntensitySection
from raycxr.dataset.convert import Rules, film_fingerprint
from raycxr.dataset.manifest import FORMAT_VERSION
from raycxr.errors import ConfigurationError, DataError
from raycxr.sources.choices import build_source
from raycxr.sources.film import Film, Listing, Reject
from raycxr.sources.patient_key import hash_patient
from raycxr.sources.siim_dicom import SiimDicomSource
from raycxr.storage.location import Location
from raycxr.xray.intensity import IntensityRule

# Bytes of pixels in a shard: large enough for efficient reading, small enough to hold several in memory.
SHARD_BYTES = 80_000_000
# A small data set is still cut into some shards, so that several workers can share the conversion.
FEWEST_SHARDS = 8
FEWEST_FILMS = 16
MAX_CLASSES = 8


@dataclass(frozen=True)
class ShardPlan:
    """Films of one shard. `fingerprint` changes with any film, mask or rule."""

    number: int
    films: tuple[Film, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        """Stem of its files. Two ingests that see other films never write to the same ones."""
        return f"{self.number:05d}-{self.fingerprint[:8]}"


@dataclass(frozen=True)
class Plan:
    """A whole ingest: the shards to write, and the hash of the rules."""

    shards: tuple[ShardPlan, ...]
    rules: str


def build_rules(section: IngestSection) -> Rules:
    """Conversion rules of a configuration.

    Raises
    ------
    ConfigurationError
        `ingest.classes` names a structure that the source does not have, or there are more than 8 classes.
    """
    source = build_source(section)
    structures = _merge_classes(source.structures, section.classes)
    white = section.intensity.high if section.intensity.rule == "keep" else None
    intensity = _intensity_rule(section.intensity)
    roots = tuple(Location(place).uri for place in (section.images, section.masks) if place)
    patient_key = hash_patient(source.key, "") if isinstance(source, SiimDicomSource) else None
    return Rules(source, section.source, structures, section.size, intensity, white, section.codec, roots, patient_key)


def reject_strange_names(listing: Listing) -> Listing:
    """Reject films that lie in files whose names are no UTF-8 text, which no table can hold."""
    films, rejects = [], [replace(reject, original=_shown(reject.original)) for reject in listing.rejects]
    for film in listing.films:
        strange = [uri for uri in (film.uri, *(part.uri for part in film.parts)) if _shown(uri) != uri]
        if strange:
            rejects.append(Reject(_shown(strange[0]), "unknown_name", "the name is not UTF-8 text"))
        else:
            films.append(film)
    return Listing(tuple(films), tuple(rejects))


def _shown(name: str) -> str:
    """Return a name with its bytes that are no UTF-8 (surrogates, as Python has them) written as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def build_plan(
    listing: Listing, rules: Rules, section: IngestSection, present: Set[str] = frozenset(), first_shard: int = 0
) -> Plan:
    """Cut a listing, sorted by id, into shards.

    Parameters
    ----------
    present : set of str
        Ids of the films that the data set holds already.
    first_shard : int
        Number of the first new shard.
    """
    if not listing.films:
        example = f", for example {listing.rejects[0].original}: {listing.rejects[0].reason}" if listing.rejects else ""
        raise DataError(f"no film to ingest under {section.images}{example}", "correct ingest.images and ingest.masks")
    base = json.dumps(
        [
            FORMAT_VERSION,
            rules.source_name,
            section.inverted,
            {name: list(parts) for name, parts in rules.structures.items()},
            list(rules.structures),
            rules.size,
            section.intensity.model_dump(),
            section.modalities,
            section.body_parts,
            rules.codec,
            rules.patient_key,
        ],
        sort_keys=True,
    )
    new = [film for film in listing.films if film.id not in present]
    step = section.shard_films or _films_per_shard(len(new), rules)
    shards: list[ShardPlan] = []
    for start in range(0, len(new), step):
        number, part = first_shard + len(shards), tuple(new[start : start + step])
        shards.append(
            ShardPlan(
                number, part, _fingerprint(base, [number, *(film_fingerprint(film, rules.roots) for film in part)])
            )
        )
    return Plan(tuple(shards), _fingerprint(base, []))


def _intensity_rule(section: IntensitySection) -> IntensityRule:
    if section.rule == "keep":
        return IntensityRule("keep")
    given = {"low": section.low, "high": section.high}
    return IntensityRule(section.rule, **{name: value for name, value in given.items() if value is not None})


def _films_per_shard(films: int, rules: Rules) -> int:
    bytes_per_film = rules.size * rules.size * (2 if rules.intensity.kind == "keep" else 1)
    return max(1, min(SHARD_BYTES // bytes_per_film, max(FEWEST_FILMS, -(-films // FEWEST_SHARDS))))


def _merge_classes(
    structures: Sequence[str], classes: Mapping[str, tuple[str, ...]] | None
) -> dict[str, tuple[str, ...]]:
    merged: dict[str, tuple[str, ...]] = {name: (name,) for name in structures} if classes is None else dict(classes)
    for name, parts in merged.items():
        for part in parts:
            if part not in structures:
                raise ConfigurationError(
                    f"ingest.classes.{name}: structure {part!r} is unknown",
                    f"choose from {', '.join(structures)}",
                )
        if not parts:
            raise ConfigurationError(
                f"ingest.classes.{name} names no structure", f"choose from {', '.join(structures)}"
            )
    if not 1 <= len(merged) <= MAX_CLASSES:
        raise ConfigurationError(f"ingest.classes has {len(merged)} classes", f"a mask holds 1 to {MAX_CLASSES}")
    return merged


def _fingerprint(base: str, parts: object) -> str:
    return hashlib.sha256((base + json.dumps(parts, sort_keys=True)).encode()).hexdigest()
