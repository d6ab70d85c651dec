"""The films of a data set that are opened: which, and what is seen in them.

Only some shards are read, one after the other, so that neither time nor memory grows with the data set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raycxr.dataset.manifest import Manifest
from raycxr.dataset.shard import open_verified, read_film
from raycxr.number_text import percent
from raycxr.report.film_count import Row, area, shows
from raycxr.report.intensities import GreyLevels, MeanFilm, shown_film
from raycxr.report.tile import Tile, make_tile
from raycxr.storage.location import Location

# Shards that the sample is drawn from, spread evenly over the data set.
SHARDS = 12
# Most that a contact sheet shows of the films without a finding and of those without a mask.
NEGATIVE_SHARE, UNANNOTATED_SHARE = 1 / 3, 1 / 6
KINDS = ("positive", "annotated as empty", "not annotated")


@dataclass(frozen=True)
class Choice:
    """Which films to open.

    Attributes
    ----------
    shards : int
        Shards that films were drawn from.
    measured : list
        Rows of the films for the intensities.
    sheet : dict
        Kind, one of `KINDS` -> rows of the films to be shown.
    masks : dict
        What is extreme about the mask -> row of the film.
    """

    shards: int
    measured: list[Row]
    sheet: dict[str, list[Row]]
    masks: dict[str, Row]


@dataclass(frozen=True)
class FilmSample:
    """What was seen in the films that were opened.

    Attributes
    ----------
    films, shards : int
        Films behind the intensities, and shards that they were drawn from.
    grey : GreyLevels
    mean : MeanFilm
    sheet : dict
        Kind, one of `KINDS` -> films to be shown.
    extremes : list
        What is extreme about it, and the film.
    verified : int
        Shards that were read and had the sha256 of the manifest.
    """

    films: int
    shards: int
    grey: GreyLevels
    mean: MeanFilm
    sheet: dict[str, list[Tile]]
    extremes: list[tuple[str, Tile]]
    verified: int


def choose_films(index: Sequence[Row], classes: Sequence[str], films: int, pictures: int, seed: int) -> Choice:
    """Choose the films to open; the same seed chooses the same ones.

    Parameters
    ----------
    films, pictures : int
        How many to measure, and how many to show on the sheet; fewer where there are not as many.
    """
    random = np.random.default_rng(seed)
    shards = _spread(sorted({row["shard"] for row in index}), random)
    pool = [row for row in index if row["shard"] in shards]
    measured = [pool[position] for position in random.permutation(len(pool))[:films]]
    if not pictures:
        return Choice(len(shards), measured, {kind: [] for kind in KINDS}, {})
    shuffled = [pool[position] for position in random.permutation(len(pool))]
    return Choice(len(shards), measured, _sheet(shuffled, classes, pictures), _extreme_masks(index, classes))


def read_sample(
    location: Location, manifest: Manifest, choice: Choice, progress: Callable[[int, int], object]
) -> FilmSample:
    """Open the chosen films.

    Raises
    ------
    DataError
        A shard is missing or damaged.
    """
    grey, mean, brightness = GreyLevels(), MeanFilm(manifest.classes), _Brightness()
    measured = {row["id"] for row in choice.measured}
    shown = {row["id"]: row for row in (*chain(*choice.sheet.values()), *choice.masks.values())}
    rows = {row["id"]: row for row in choice.measured} | shown
    tiles: dict[str, Tile] = {}
    for done, (row, image, field) in enumerate(read_films(location, manifest, list(rows.values())), 1):
        square, inside = shown_film(image, row["height"], row["width"])
        if row["id"] in shown:
            tiles[row["id"]] = make_tile(row, square, field, len(manifest.classes))
        if row["id"] in measured:
            grey.add(inside, row["split"])
            mean.add(square, field)
            if shown:
                brightness.add(row, square, inside, field, len(manifest.classes))
        progress(done, len(rows))
    return FilmSample(
        films=len(measured),
        shards=choice.shards,
        grey=grey,
        mean=mean,
        sheet={kind: [tiles[row["id"]] for row in chosen] for kind, chosen in choice.sheet.items()},
        extremes=brightness.found() + [(why, tiles[row["id"]]) for why, row in choice.masks.items()],
        verified=len({row["shard"] for row in rows.values()}),
    )


class _Brightness:
    """Keeps the darkest, the brightest and the flattest film, and no other one."""

    def __init__(self) -> None:
        self.best: dict[str, tuple[float, str, Tile]] = {}

    def add(
        self, row: Row, square: NDArray[np.uint8], inside: NDArray[np.uint8], field: NDArray[np.uint8] | None, bits: int
    ) -> None:
        mean, deviation = float(inside.mean()), float(inside.std())
        for why, value, told in (
            ("darkest", mean, f"mean grey level {mean:.0f}"),
            ("brightest", -mean, f"mean grey level {mean:.0f}"),
            ("lowest contrast", deviation, f"grey levels deviate by {deviation:.0f}"),
        ):
            # Equal values go by id, so that the order of reading does not matter.
            if why not in self.best or (value, row["id"]) < (self.best[why][0], self.best[why][2].id):
                self.best[why] = (value, told, make_tile(row, square, field, bits))

    def found(self) -> list[tuple[str, Tile]]:
        """What is extreme, with its value, and the film."""
        return [(f"{why}: {told}", tile) for why, (_, told, tile) in self.best.items()]


def _spread(shards: Sequence[int], random: np.random.Generator) -> set[int]:
    """One shard of every stretch of the data set: neighbours in a shard are neighbours by name, and often alike."""
    borders = np.linspace(0, len(shards), min(SHARDS, len(shards)) + 1).astype(int)
    return {shards[random.integers(start, end)] for start, end in pairwise(borders)}


def _sheet(rows: Sequence[Row], classes: Sequence[str], count: int) -> dict[str, list[Row]]:
    """Films of every kind, most of them positive; what one kind lacks another one fills."""
    positive = _by_class(rows, classes)
    shown = {row["id"] for row in positive}
    negative = [row for row in rows if row["annotated"] and row["id"] not in shown]
    unannotated = [row for row in rows if not row["annotated"] and row["id"] not in shown]
    few_unannotated = min(len(unannotated), round(count * UNANNOTATED_SHARE))
    few_negative = min(len(negative), round(count * NEGATIVE_SHARE))
    positive = positive[: count - few_negative - few_unannotated]
    negative = negative[: max(few_negative, count - len(positive) - few_unannotated)]
    unannotated = unannotated[: count - len(positive) - len(negative)]
    kinds = dict(zip(KINDS, (positive, negative, unannotated), strict=True))
    return {kind: sorted(chosen, key=lambda row: str(row["id"])) for kind, chosen in kinds.items()}


def _by_class(rows: Sequence[Row], classes: Sequence[str]) -> list[Row]:
    """Positive films, taking from every class in turn, so that a rare one is shown, too."""
    queues = [[row for row in rows if shows(row, bit, name)] for bit, name in enumerate(classes)]
    queues.sort(key=len)
    chosen: dict[str, Row] = {}
    for position in range(max(map(len, queues))):
        for queue in queues:
            if position < len(queue):
                chosen.setdefault(queue[position]["id"], queue[position])
    return list(chosen.values())


def _extreme_masks(index: Sequence[Row], classes: Sequence[str]) -> dict[str, Row]:
    """Smallest and largest mask of every class, over the whole data set."""
    found: dict[str, Row] = {}
    for bit, name in enumerate(classes):
        drawn = sorted(
            (row for row in index if row["annotated"] and row["pixels"][bit]),
            key=lambda row: (area(row, bit), row["id"]),
        )
        for why, row in zip(("smallest", "largest"), (drawn[0], drawn[-1]) if len(drawn) > 1 else (), strict=False):
            found[f"{why} {name}: {percent(area(row, bit))} of the film"] = row
    return found


def read_films(
    location: Location, manifest: Manifest, rows: Sequence[Row]
) -> Iterator[tuple[Row, NDArray[Any], NDArray[np.uint8] | None]]:
    """Films and bit fields, one shard and of it one group of rows at a time."""
    by_shard: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_shard[row["shard"]].append(row)
    for shard in sorted(by_shard):
        entry = manifest.shards[shard]
        yield from _read_shard(open_verified(location / entry.name, entry.sha256), by_shard[shard])


def _read_shard(
    file: pq.ParquetFile, rows: Sequence[Row]
) -> Iterator[tuple[Row, NDArray[Any], NDArray[np.uint8] | None]]:
    start = 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        here = sorted((row for row in rows if start <= row["row"] < end), key=lambda row: int(row["row"]))
        if here:
            table = file.read_row_group(group, columns=["image", "mask", "height", "width", "codec"])
            for row in here:
                yield row, *read_film(table, row["row"] - start, row["high"])
        start = end
