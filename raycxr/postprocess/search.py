"""The best threshold, triplet and image gate of a class, searched over whole films at the price of one look at each.

Of each film only counts are kept: its pixels, and its true pixels, above every number that the grid has as a
threshold, top or bottom. They hold the Dice of every film and threshold, and whether a film keeps its mask for every
pair of top and area; the mean Dice of all triplets then is one matrix product over the films. The figures are those
of applying each rule to each film (`rule.py`, `metrics/overlap.py`), up to the order of summation.

Left out of the search is what is done to components and holes. The objective is the mean Dice over films where two
empty masks count 1, the score of the SIIM-ACR competition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raycxr.config.postprocess import GridSection
from raycxr.postprocess.rule import DecisionRule

# Scores that differ by less are equal: sums in another order differ by some 1e-13.
TIE = 1e-9

Axis = NDArray[np.float64]


@dataclass(frozen=True)
class FoundRule:
    """The best rule of a class, with mean Dice over the films: of the rule before, of this one, of empty masks."""

    rule: DecisionRule
    before: float
    after: float
    empty: float


@dataclass(frozen=True)
class _Points:
    """Every combination of these values, each in ascending order: a table with four axes."""

    gates: Axis
    tops: Axis
    areas: Axis
    bottoms: Axis


class RuleSearch:
    """Search of one class.

    Parameters
    ----------
    rule : DecisionRule
        With a threshold or a triplet; an image gate is searched where it has one. It is kept if nothing is better.
    grid : GridSection
        Values that are tried.
    """

    def __init__(self, rule: DecisionRule, grid: GridSection) -> None:
        if rule.kind == "most probable":
            raise ValueError("where the most probable class counts there is nothing to search")
        self.rule = rule
        self.configured, self.candidates = _point(rule), _points(rule, grid)
        both = (self.configured, self.candidates)
        # Compared as float32, as probabilities are.
        self.levels = np.unique(np.concatenate([axis for p in both for axis in (p.tops, p.bottoms)]).astype(np.float32))
        self.above: list[NDArray[np.int64]] = []
        self.true_above: list[NDArray[np.int64]] = []
        self.pixels: list[tuple[int, int]] = []
        self.images: list[np.float32] = []

    def add(
        self,
        probabilities: NDArray[np.float32],
        truth: NDArray[np.bool_],
        image_probability: np.float32 | None = None,
    ) -> None:
        """Count in a film.

        Parameters
        ----------
        probabilities : float32 (H, W)
            Without padding.
        truth : bool (H, W)
        image_probability : float32 or None
            Needed where the rule has an image gate.
        """
        if probabilities.shape != truth.shape or truth.ndim != 2 or truth.dtype != np.bool_:
            raise ValueError(f"probabilities {probabilities.shape} and truth {truth.shape} {truth.dtype} do not fit")
        if image_probability is None and self.rule.image_threshold is not None:
            raise ValueError("a rule with an image_threshold needs the probabilities of an image head")
        probabilities, positives = np.ascontiguousarray(probabilities), int(np.count_nonzero(truth))
        above, true_above = np.zeros((2, len(self.levels)), np.int64)
        mask = np.empty(truth.shape, bool)
        # One comparison per level: 20 of them take less time than sorting pixels into bins once.
        for number, level in enumerate(self.levels):
            np.greater(probabilities, level, out=mask)
            above[number] = np.count_nonzero(mask)
            if above[number] == 0:
                break
            if positives:
                true_above[number] = np.count_nonzero(np.logical_and(mask, truth, out=mask))
        self.above.append(above)
        self.true_above.append(true_above)
        self.pixels.append((truth.size, positives))
        self.images.append(np.float32(0) if image_probability is None else np.float32(image_probability))

    def result(self) -> FoundRule:
        """The best rule of the grid; the one before where none is better, or where no film shows the structure.

        Of equally good ones the one nearest to the mean of all of them, counted in steps of the grid, so that films
        that differ a little do not leave the good range; of equally near ones the strictest, by gate, top, area and
        bottom.

        Raises
        ------
        ValueError
            No film was added.
        """
        if not self.pixels:
            raise ValueError("no film was added")
        empty = float(np.mean([positives == 0 for _, positives in self.pixels]))
        before = float(self._scores(self.configured).item())
        scores = self._scores(self.candidates)
        if scores.max() <= before + TIE or empty == 1:
            return FoundRule(self.rule, before, before, empty)
        tied = np.argwhere(scores >= scores.max() - TIE)
        distances = np.square(tied - tied.mean(axis=0)).sum(axis=1)
        chosen = tuple(tied[np.flatnonzero(distances <= distances.min() + TIE)[-1]])
        return FoundRule(self._rule_at(chosen), before, float(scores[chosen]), empty)

    def _scores(self, points: _Points) -> NDArray[np.float64]:
        """Mean Dice (gates, tops, areas, bottoms); -inf where top lies below bottom."""
        pixels, positives = np.array(self.pixels, np.int64).T
        above, true_above = np.stack(self.above), np.stack(self.true_above)
        at_top, at_bottom = self._columns(points.tops), self._columns(points.bottoms)
        sizes = above[:, at_bottom] + positives[:, None]
        dice = np.where(sizes > 0, 2 * true_above[:, at_bottom] / np.maximum(sizes, 1), 1.0)
        of_empty = (positives == 0).astype(np.float64)
        gain = dice - of_empty[:, None]
        large = (above[:, at_top] / pixels[:, None])[:, :, None] >= points.areas
        images = np.array(self.images)
        scores = np.empty((len(points.gates), len(points.tops), len(points.areas), len(points.bottoms)))
        for number, gate in enumerate(points.gates):
            kept = large & (images >= np.float32(gate))[:, None, None]
            gained = kept.reshape(len(kept), -1).T.astype(np.float64) @ gain
            scores[number] = (gained.reshape(scores.shape[1:]) + of_empty.sum()) / len(pixels)
        in_order = points.tops[:, None, None] >= points.bottoms
        return np.where(in_order, scores, -np.inf)

    def _columns(self, values: Axis) -> NDArray[np.int64]:
        """Columns of the counts that belong to values, which are among the levels."""
        return np.searchsorted(self.levels, values.astype(np.float32))

    def _rule_at(self, position: tuple[int, ...]) -> DecisionRule:
        points, (gate, top, area, bottom) = self.candidates, position
        values: dict[str, float] = {}
        if self.rule.image_threshold is not None:
            values["image_threshold"] = float(points.gates[gate])
        if self.rule.kind == "threshold":
            values["threshold"] = float(points.bottoms[bottom])
        else:
            values |= {"top": float(points.tops[top]), "area": float(points.areas[area])}
            values["bottom"] = float(points.bottoms[bottom])
        return self.rule.model_copy(update=values)


def _point(rule: DecisionRule) -> _Points:
    """The rule itself as the only point; a threshold is a triplet that asks for no area."""
    bottom = rule.bottom if rule.threshold is None else rule.threshold
    top = bottom if rule.top is None else rule.top
    return _Points(*(np.array([value or 0.0]) for value in (rule.image_threshold, top, rule.area, bottom)))


def _points(rule: DecisionRule, grid: GridSection) -> _Points:
    gates = np.array([0.0]) if rule.image_threshold is None else np.unique(grid.image_threshold)
    if rule.kind == "threshold":
        bottoms = np.unique(grid.threshold)
        return _Points(gates, bottoms[-1:], np.array([0.0]), bottoms)
    return _Points(gates, np.unique(grid.top), np.unique(grid.area), np.unique(grid.bottom))
