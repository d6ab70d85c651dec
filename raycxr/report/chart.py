"""Charts as SVG, drawn with the colours of the text around them so that they follow light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from raycxr.number_text import percent

_WIDTH, _HEIGHT = 640, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 30, 44
_BINS = 64
# Splits are told apart by strokes: colours stand for the classes.
DASHES = {"train": "", "validation": "7 4", "test": "2 3"}
_AREA_WIDTH, _AREA_HEIGHT, _AREA_BINS = 180, 36, 30


def grey_level_chart(counts: NDArray[np.int64], by_split: Mapping[str, NDArray[np.int64]]) -> str:
    """Histogram of grey levels (256,): all films as a surface, each split as a line.

    Black and white often hold many more pixels than any level between them; they are told in numbers.
    """
    lines = {name: _per_level(split) for name, split in by_split.items() if split.any()}
    shares = _per_level(counts)
    top = 1.1 * max(float(line.max()) for line in (shares, *lines.values()))
    step = _step(top)
    parts = [
        f"<svg class='chart' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img' "
        "aria-label='Histogram of grey levels, of all films and by split'>"
    ]
    for number in range(int(top / step) + 1):
        y = _y(number * step, top)
        parts.append(f"<line class='grid' x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{100 * number * step:.3g} %</text>")
    for level in (0, 64, 128, 192, 255):
        anchor = {0: "start", 255: "end"}.get(level, "middle")
        parts.append(f"<text x='{_x(level / 255):.1f}' y='{_HEIGHT - 26}' text-anchor='{anchor}'>{level}</text>")
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f"<text x='{middle}' y='{_HEIGHT - 8}' text-anchor='middle'>grey level, from black to white</text>")
    floor = _y(0, top)
    outline = f"M{_LEFT} {floor:.1f}L{_line(shares, top)}L{_WIDTH - _RIGHT} {floor:.1f}Z"
    parts.append(f"<path class='surface' d='{outline}'/>")
    for name, line in lines.items():
        dash = f" stroke-dasharray='{DASHES[name]}'" if DASHES[name] else ""
        parts.append(f"<path class='split' d='M{_line(line, top)}'{dash}/>")
    ends = counts[[0, -1]] / counts.sum()
    parts.append(f"<text x='{_LEFT}' y='{_TOP - 12}'>black {percent(float(ends[0]))}</text>")
    parts.append(
        f"<text x='{_WIDTH - _RIGHT}' y='{_TOP - 12}' text-anchor='end'>white {percent(float(ends[1]))}</text>"
    )
    return "".join([*parts, "</svg>"])


def area_chart(areas: NDArray[np.float64], colour: str) -> str:
    """Small histogram of shares of the film's area, from 0 to the largest one."""
    bars, _ = np.histogram(areas, _AREA_BINS, (0, float(areas.max())))
    step = _AREA_WIDTH / _AREA_BINS
    rectangles = "".join(
        f"<rect x='{number * step:.1f}' y='{_AREA_HEIGHT - height:.1f}' width='{step - 1:.1f}' height='{height:.1f}'/>"
        for number, height in enumerate(bars / bars.max() * _AREA_HEIGHT)
        if height
    )
    return (
        f"<svg class='areas' viewBox='0 0 {_AREA_WIDTH} {_AREA_HEIGHT + 2}' role='img' "
        f"aria-label='Histogram of areas'><g fill='{colour}'>{rectangles}</g>"
        f"<line class='grid' x1='0' x2='{_AREA_WIDTH}' y1='{_AREA_HEIGHT + 1}' y2='{_AREA_HEIGHT + 1}'/></svg>"
    )


def _per_level(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the pixels per grey level in `_BINS` bins from the darkest grey to the brightest."""
    greys = np.array_split((counts / counts.sum())[1:-1], _BINS)
    return np.maximum([grey.mean() for grey in greys], 1e-12)


def _line(shares: NDArray[np.float64], top: float) -> str:
    points = (f"{_x(position / (_BINS - 1)):.1f} {_y(float(share), top):.1f}" for position, share in enumerate(shares))
    return "L".join(points)


def _x(position: float) -> float:
    return _LEFT + position * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float, top: float) -> float:
    return _TOP + (1 - share / top) * (_HEIGHT - _TOP - _BOTTOM)


def _step(top: float) -> float:
    """Distance of 2 to 5 grid lines: 1, 2 or 5 times a power of ten."""
    power = float(10 ** math.floor(math.log10(top / 2)))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= top / 2)
