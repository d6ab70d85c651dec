"""Counts over films, from the index alone: a data set of any size is counted without opening a shard."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.dataset.split import SPLITS

Row = Mapping[str, Any]


@dataclass(frozen=True)
class FilmCount:
    """What a group of films holds.

    Attributes
    ----------
    images, patients, annotated : int
    known, positive : dict
        Class -> films of which is known whether they show it, and those that do; see `shows`.
    labels : dict
        Label of the whole film -> value -> films.
    """

    images: int
    patients: int
    annotated: int
    known: dict[str, int]
    positive: dict[str, int]
    labels: dict[str, dict[int, int]]


def shows(row: Row, bit: int, name: str) -> bool | None:
    """Whether a film shows a class: its mask tells; where nothing was drawn, a label of that name; else None."""
    if row["annotated"]:
        return bool(row["pixels"][bit])
    label = json.loads(row["labels"]).get(name)
    return None if label is None else bool(label)


def count_films(rows: Sequence[Row], classes: Sequence[str]) -> FilmCount:
    """Count a group of index rows."""
    labels: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        for label, value in json.loads(row["labels"]).items():
            labels[label][value] += 1
    shown = {name: [shows(row, bit, name) for row in rows] for bit, name in enumerate(classes)}
    return FilmCount(
        images=len(rows),
        patients=len({row["patient"] for row in rows}),
        annotated=sum(row["annotated"] for row in rows),
        known={name: sum(state is not None for state in states) for name, states in shown.items()},
        positive={name: sum(state is True for state in states) for name, states in shown.items()},
        labels={label: dict(sorted(values.items())) for label, values in sorted(labels.items())},
    )


def count_splits(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, FilmCount]:
    """Count each split, in the order train, validation, test."""
    return {name: count_films([row for row in rows if row["split"] == name], classes) for name in SPLITS}


def class_areas(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Class -> share of the film's area that it covers (0 to 1), of every film whose mask shows it, sorted."""
    return {
        name: np.sort(np.array([area(row, bit) for row in rows if row["annotated"] and row["pixels"][bit]], float))
        for bit, name in enumerate(classes)
    }


def area(row: Row, bit: int) -> float:
    """Share of an annotated film's area (0 to 1) that a class covers, at the size in which it was drawn."""
    return float(row["pixels"][bit] / (row["mask_height"] * row["mask_width"]))


def duplicate_groups(rows: Sequence[Row]) -> list[list[str]]:
    """Ids of films with exactly the same pixels, the largest group first."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[row["pixels_sha256"]].append(row["id"])
    return sorted((sorted(group) for group in groups.values() if len(group) > 1), key=lambda ids: (-len(ids), ids))


def on_several_sides(rows: Sequence[Row], key: str) -> int:
    """Count the values of a column (patients, or hashes of pixels) that occur in more than one split."""
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        sides[row[key]].add(row["split"])
    return sum(len(splits) > 1 for splits in sides.values())
