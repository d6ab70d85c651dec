"""What is in a data set: counts from its manifest and index, intensities and pictures from a sample of its films."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.dataset.manifest import Manifest, check_shards, read_index, read_manifest, read_rejects
from raycxr.errors import DataError
from raycxr.number_text import count
from raycxr.report.film_count import (
    FilmCount,
    class_areas,
    count_films,
    count_splits,
    duplicate_groups,
    on_several_sides,
)
from raycxr.report.film_sample import FilmSample, choose_films, read_sample
from raycxr.storage.location import Location
from raycxr.storage.patience import first_contact


@dataclass(frozen=True)
class Inspection:
    """A data set, counted.

    Attributes
    ----------
    whole, splits
        Counts of all films, and of each split.
    areas : dict
        Class -> shares of the film's area (0 to 1) over the films that show it, sorted.
    sizes : dict
        (width, height) of the original films -> films, the most frequent first.
    spacings : float array
        Distance of the original films' pixels in mm, of those that tell it, sorted.
    duplicates : list
        Ids of films with exactly the same pixels, by group.
    patients_on_several_sides, duplicates_on_several_sides : int
        Patients, and groups of equal films, that lie in more than one split; none should.
    rejects : list
        Rows of original, reason and detail.
    sample : FilmSample
        What was seen in the films that were opened.
    """

    location: Location
    manifest: Manifest
    whole: FilmCount
    splits: dict[str, FilmCount]
    areas: dict[str, NDArray[np.float64]]
    sizes: dict[tuple[int, int], int]
    spacings: NDArray[np.float64]
    duplicates: list[list[str]]
    patients_on_several_sides: int
    duplicates_on_several_sides: int
    rejects: list[dict[str, Any]]
    sample: FilmSample

    @property
    def reasons(self) -> dict[str, int]:
        """Reason -> rejected files, the most frequent first."""
        return dict(sorted(Counter(row["reason"] for row in self.rejects).items(), key=lambda item: (-item[1], item)))

    @property
    def bytes(self) -> int:
        """Size of all shards, those of the masks included."""
        return sum(entry.bytes for entry in self.manifest.shards + self.manifest.masks)


def inspect_dataset(
    location: Location, films: int, pictures: int, seed: int, progress: Callable[[int, int], object]
) -> Inspection:
    """Look into a data set.

    Parameters
    ----------
    films : int
        Films whose pixels are read for the intensities.
    pictures : int
        Films to be shown on a contact sheet, with the extreme ones beside them; 0 where no page is wanted.
    seed : int
        Of the choice of both.
    progress : callable
        Called with the number of films read, and of all to be read.

    Raises
    ------
    DataError
        No finished data set, or a file of it is missing or damaged.
    """
    with first_contact():
        manifest = read_manifest(location)
    index, rejects = read_index(location), read_rejects(location)
    _check_counts(location, manifest, index, rejects)
    check_shards(location, manifest.shards + manifest.masks)
    choice = choose_films(index, manifest.classes, films, pictures, seed)
    return Inspection(
        location=location,
        manifest=manifest,
        whole=count_films(index, manifest.classes),
        splits=count_splits(index, manifest.classes),
        areas=class_areas(index, manifest.classes),
        sizes=dict(Counter((row["width"], row["height"]) for row in index).most_common()),
        spacings=np.sort(np.array([row["spacing_mm"] for row in index if row["spacing_mm"]], float)),
        duplicates=duplicate_groups(index),
        patients_on_several_sides=on_several_sides(index, "patient"),
        duplicates_on_several_sides=on_several_sides(index, "pixels_sha256"),
        rejects=rejects,
        sample=read_sample(location, manifest, choice, progress),
    )


def _check_counts(location: Location, manifest: Manifest, index: Sequence[Any], rejects: Sequence[Any]) -> None:
    counts = manifest.counts
    found = (len(index), len(rejects), len(index) + len(rejects))
    if found != (counts.images, counts.rejected, counts.listed):
        raise DataError(
            f"{location}: the manifest tells of {count(counts.images, 'film')} and {counts.rejected} rejected, "
            f"the tables hold {found[0]} and {found[1]}",
            "restore the tables, or delete the data set and ingest again",
        )
