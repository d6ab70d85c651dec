"""The films of a data set of which one label is known, with masks or without."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.dataset.films import SplitIndex
from raycxr.dataset.split import SPLITS
from raycxr.errors import ConfigurationError, DataError


@dataclass(frozen=True)
class LabelledFilms:
    """Index rows in the order of the shards, and their labels (N,) bool."""

    label: str
    splits: SplitIndex
    rows: list[dict[str, Any]]
    labels: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Pixels of the films' side."""
        return self.splits.manifest.geometry.size


def labelled_films(splits: SplitIndex, label: str, names: Sequence[str] = SPLITS) -> LabelledFilms:
    """Films of the splits named that have a label.

    Raises
    ------
    ConfigurationError
        No film has the label; lists those that there are.
    DataError
        A label is neither 0 nor 1, or no film of these splits has it.
    """
    rows = sorted((row for name in names for row in splits.rows[name]), key=lambda row: (row["shard"], row["row"]))
    known = [(row, labels[label]) for row in rows if label in (labels := json.loads(row["labels"]))]
    if not known:
        _refuse(splits, label, names)
    strange = sorted({value for _, value in known} - {0, 1})
    if strange:
        raise DataError(
            f"label {label!r} of {splits.location} takes the value {strange[0]}", "a classifier tells 0 from 1"
        )
    return LabelledFilms(label, splits, [row for row, _ in known], np.array([value == 1 for _, value in known]))


def check_both_kinds(films: LabelledFilms) -> None:
    """Refuse films of one kind only, from which nothing can be learned."""
    if films.labels.all() or not films.labels.any():
        raise DataError(
            f"all {len(films)} films of {films.splits.location} have {films.label} = {int(films.labels[0])}",
            "a classifier needs films of both kinds: add the others, or choose another classify.label",
        )


def _refuse(splits: SplitIndex, label: str, names: Sequence[str]) -> None:
    counts = Counter(key for rows in splits.rows.values() for row in rows for key in json.loads(row["labels"]))
    if label in counts:
        raise DataError(
            f"no film of the {' and '.join(names)} split of {splits.location} has the label {label!r}",
            "choose another --split",
        )
    told = ", ".join(f"{name} ({count} films)" for name, count in sorted(counts.items()))
    raise ConfigurationError(
        f"no film of {splits.location} has the label {label!r}",
        f"choose classify.label from {told}" if told else "its films have no labels: ingest a source that tells some",
    )
