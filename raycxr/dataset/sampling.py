"""Which films an epoch is made of, and in which order: a function of the seed and the epoch alone.

A schedule of positive shares (0.8, then 0.4, then the natural one) is what the winners of SIIM-ACR 2019 annealed; they
drew the negatives of each epoch anew, here they take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from raycxr.config.sampling import SamplingSection
from raycxr.errors import ConfigurationError, DataError

Positions = NDArray[np.int64]
POSITIVE, NEGATIVE = True, False


class EpochOrder(Protocol):
    """The films of every epoch of a run.

    Attributes
    ----------
    films : int
        Films of an epoch, the same in every one.
    """

    films: int

    def positions(self, epoch: int) -> Positions:
        """Positions (films,) in the training split of the films of an epoch, counted from 1, in their order."""

    def record(self, epoch: int) -> dict[str, float]:
        """What the history tells of an epoch's films."""


class EveryFilm:
    """Every film once, in a random order."""

    def __init__(self, films: int, seed: int) -> None:
        self.films, self.seed = films, seed

    def positions(self, epoch: int) -> Positions:
        """See `EpochOrder.positions`."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.films)

    def record(self, epoch: int) -> dict[str, float]:
        """Nothing that the configuration does not say."""
        return {}


class SampledFilms:
    """Films drawn in set shares: of positive films by the stages, of sources by their weights.

    The films of one kind and source are a circle in a random order, on which each epoch goes on where the one before
    ended. So none comes twice before all the others have come, and over the epochs all come equally often. A film that
    comes twice in an epoch is augmented differently each time, see `raycxr.dataset.augment`.

    Parameters
    ----------
    section : SamplingSection
    films : int
        Films of an epoch.
    positive : bool array (N,)
        Of every film of the split.
    sources : str array (N,)
    seed : int
    """

    def __init__(
        self, section: SamplingSection, films: int, positive: NDArray[np.bool_], sources: NDArray[np.str_], seed: int
    ) -> None:
        self.section, self.films, self.seed = section, films, seed
        self.positive = positive
        weights = np.array([(section.source_weights or {}).get(str(source), 1.0) for source in sources])
        self.natural_share = float(weights[positive].sum() / weights.sum())
        self.circles: dict[bool, list[Positions]] = {}
        self.shares: dict[bool, list[float]] = {}
        for kind in (POSITIVE, NEGATIVE):
            members = [np.flatnonzero((positive == kind) & (sources == source)) for source in np.unique(sources)]
            # A third number above 0, which the seed of an epoch's order does not have: the two share nothing.
            self.circles[kind] = [
                np.random.default_rng([seed, int(kind), number]).permutation(circle)
                for number, circle in enumerate(members, 1)
            ]
            self.shares[kind] = [float(weights[circle].sum()) for circle in members]

    def positions(self, epoch: int) -> Positions:
        """See `EpochOrder.positions`."""
        drawn = []
        for kind in (POSITIVE, NEGATIVE):
            before = divide(self._drawn(kind, epoch - 1), self.shares[kind])
            after = divide(self._drawn(kind, epoch), self.shares[kind])
            for circle, start, end in zip(self.circles[kind], before, after, strict=True):
                if end > start:
                    drawn.append(circle[np.arange(start, end) % len(circle)])
        return np.random.default_rng([self.seed, epoch]).permutation(np.concatenate(drawn))

    def record(self, epoch: int) -> dict[str, float]:
        """`positive_share` of the films that were drawn."""
        return {"positive_share": float(self.positive[self.positions(epoch)].mean())}

    def positive_share(self, epoch: int) -> float:
        """Share of positive films that an epoch shall have."""
        for stage in self.section.stages:
            if stage.epochs is None or epoch <= stage.epochs:
                return stage.positive_share if isinstance(stage.positive_share, float) else self.natural_share
            epoch -= stage.epochs
        return self.natural_share

    def _drawn(self, kind: bool, epoch: int) -> int:
        """Films of a kind drawn up to the end of an epoch; rounded over all of them, so that no remainder is lost."""
        share = sum(self.positive_share(number) for number in range(1, epoch + 1))
        positive = round(share * self.films)
        return positive if kind == POSITIVE else epoch * self.films - positive


def divide(total: int, shares: Sequence[float]) -> list[int]:
    """Divide a number of draws in proportion to shares.

    One share is cut off after the other, each rounded, which never takes back a draw when the total grows - as the
    usual rule of the largest remainder does.
    """
    counts, left = [], sum(shares)
    for share in shares:
        count = round(total * share / left) if share else 0
        counts.append(count)
        total, left = total - count, left - share
    return counts


def build_order(
    section: SamplingSection, rows: Sequence[Mapping[str, Any]], classes: Sequence[str], batch_size: int, seed: int
) -> EpochOrder:
    """Order of a configuration.

    Parameters
    ----------
    rows : sequence of mappings
        Index rows (`pixels`, `source`) of the training films that have masks.
    classes : sequence of str
        Of the data set.
    batch_size : int
        Films of an optimizer step.

    Raises
    ------
    ConfigurationError
        A class or a source that is not there.
    DataError
        No positive or no negative film to draw.
    """
    if not section.is_set:
        return EveryFilm(len(rows), seed)
    sources = np.array([row["source"] for row in rows])
    for source in section.source_weights or {}:
        if source not in sources:
            raise ConfigurationError(
                f"sampling.source_weights names {source!r}, but no training film comes from there",
                f"choose from {', '.join(np.unique(sources))}",
            )
    positive = _positive(section, rows, classes)
    _check_shares(section, positive)
    steps = -(-(section.films_per_epoch or len(rows)) // batch_size)
    return SampledFilms(section, steps * batch_size, positive, sources, seed)


def _positive(section: SamplingSection, rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> NDArray[np.bool_]:
    named = section.positive_class
    if named is not None and named not in classes:
        raise ConfigurationError(
            f"sampling.positive_class = {named!r} is no class of the data set", f"choose from {', '.join(classes)}"
        )
    bits = range(len(classes)) if named is None else [classes.index(named)]
    return np.array([any(row["pixels"][bit] for bit in bits) for row in rows])


def _check_shares(section: SamplingSection, positive: NDArray[np.bool_]) -> None:
    shares = [stage.positive_share for stage in section.stages if isinstance(stage.positive_share, float)]
    shown = section.positive_class or "any class"
    if shares and not positive.any():
        raise DataError(
            f"sampling.stages wants positive films, but none of the {len(positive)} training films shows {shown}",
            "change dataset.split, or leave out sampling.stages",
        )
    if any(share < 1 for share in shares) and positive.all():
        raise DataError(
            f"sampling.stages wants negative films, but all {len(positive)} training films show {shown}",
            "set sampling.positive_class, or leave out sampling.stages",
        )
