"""A scale of numbers, even or logarithmic: where a number stands on it, and which ticks it has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raycxr.runs.metric import Mode

# Numbers that lie farther apart than this are drawn on a logarithmic scale.
WIDE = 20.0


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high`; both are above 0 where it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def share(self, number: float) -> float:
        """Where a number stands, 0 to 1; one beyond an end stands at the end, on a scale of one number all at 0.5."""
        low, high = self._on(self.low), self._on(self.high)
        if low == high:
            return 0.5
        clipped = min(max(number, self.low), self.high)
        return (self._on(clipped) - low) / (high - low)

    def ticks(self, most: int) -> list[float]:
        """Round numbers within the scale, about `most` or fewer."""
        if self.low == self.high:
            return [self.low]
        if self.log and self.high / self.low >= 5:
            return _log_ticks(self.low, self.high, most)
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _on(self, number: float) -> float:
        return math.log10(number) if self.log else number


def tick_text(number: float) -> str:
    """Text of a tick, without the dust of its computation."""
    return f"{number:.6g}" if abs(number) >= 1e-4 or number == 0 else f"{number:.0e}"


def metric_scale(values: Sequence[float], mode: Mode) -> Scale:
    """Scale of a metric over candidates, without the few that did far worse than the rest.

    A network that learnt nothing would otherwise press all others into one line. The worse end lies no farther than
    1.5 interquartile ranges beyond the worse quartile (Tukey's fence).
    """
    known = np.array([value for value in values if math.isfinite(value)])
    lower, upper = np.percentile(known, [25, 75])
    reach = 1.5 * (upper - lower)
    if mode == "max":
        return Scale(float(known[known >= lower - reach].min()), float(known.max()))
    return Scale(float(known.min()), float(known[known <= upper + reach].max()))


def spread_scale(numbers: Sequence[float]) -> Scale:
    """Scale of numbers above 0, logarithmic where they are far apart."""
    low, high = min(numbers), max(numbers)
    return Scale(low, high, low > 0 and high / low > WIDE)


def padded(scale: Scale, share: float = 0.04) -> Scale:
    """The scale with some room at both ends."""
    if scale.log:
        reach = max((scale.high / scale.low) ** share, 1.01)
        return Scale(scale.low / reach, scale.high * reach, True)
    span, size = scale.high - scale.low, max(abs(scale.low), abs(scale.high))
    room = share * span if span > 1e-9 * size else 0.01 * size or 0.01
    return Scale(scale.low - room, scale.high + room)


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = float(10 ** math.floor(math.log10(least)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        powers = [(factor, power) for power in range(first, last + 1) for factor in factors]
        found = [factor * 10.0**power for factor, power in powers]
        inside = [number for number in found if low * (1 - 1e-9) <= number <= high * (1 + 1e-9)]
        if len(inside) <= most:
            break
    return inside[:: -(-len(inside) // most)] if inside else [low]
