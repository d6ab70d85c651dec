"""Charts of probabilities as SVG: the ROC curve, and how often what was given a probability is so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from raycxr.metrics.roc_curve import roc_curve
from raycxr.number_text import count, percent

_SIDE = 320
_LEFT, _TOP, _BOTTOM, _RIGHT = 48, 12, 44, 12
_BINS = 10

STYLE = """
svg.square { width: 100%; max-width: 27rem; display: block; }
svg.square text { fill: var(--muted); font: 12px system-ui, sans-serif; }
.grid { stroke: #8884; stroke-width: 1; } .even { stroke: #8888; stroke-dasharray: 4 4; }
.part { fill: none; stroke: #8889; stroke-width: 1; }
.all { fill: none; stroke: #0072b2; stroke-width: 2.2; } .dot { fill: #0072b2; }
.bars { fill: #8884; }
@media (prefers-color-scheme: dark) { .all { stroke: #56b4e9; } .dot { fill: #56b4e9; } }
"""


def roc_chart(
    parts: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]],
    probabilities: NDArray[np.float64],
    labels: NDArray[np.bool_],
    threshold: float,
) -> str:
    """ROC curve of all films, thin ones of the parts (name -> probabilities and labels), a dot at the threshold."""
    drawn = [
        _frame(
            "share of the negative films called positive", "share of the positive films called positive", "ROC curve"
        )
    ]
    drawn.append(_path("even", np.array([0.0, 1.0]), np.array([0.0, 1.0])))
    for name, (values, truth) in parts.items():
        if truth.any() and not truth.all():
            drawn.append(_path("part", *roc_curve(values, truth), name))
    if labels.any() and not labels.all():
        drawn.append(_path("all", *roc_curve(probabilities, labels), "all films"))
        called = probabilities > threshold
        x, y = float(called[~labels].mean()), float(called[labels].mean())
        title = f"threshold {threshold:g}: {percent(y)} of the positive films found, {percent(x)} of the negative ones"
        drawn.append(f"<circle class='dot' cx='{_x(x):.1f}' cy='{_y(y):.1f}' r='5'><title>{title}</title></circle>")
    return "".join([*drawn, "</svg>"])


def calibration_chart(probabilities: NDArray[np.float64], labels: NDArray[np.bool_]) -> str:
    """Share of positives among films of about the same probability, and below how many films those are."""
    drawn = [_frame("probability given", "share that is positive", "calibration")]
    drawn.append(_path("even", np.array([0.0, 1.0]), np.array([0.0, 1.0])))
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    points = []
    for number, films in enumerate(counts):
        if not films:
            continue
        inside = bins == number
        mean, share = float(probabilities[inside].mean()), float(labels[inside].mean())
        points.append((mean, share))
        height = 0.25 * films / counts.max()
        left, top, width = _x(number / _BINS) + 1, _y(height), _x(1 / _BINS) - _x(0) - 2
        title = f"{count(int(films), 'film')} of mean probability {mean:.2f}, {percent(share)} positive"
        drawn.append(
            f"<rect class='bars' x='{left:.1f}' y='{top:.1f}' width='{width:.1f}' height='{_y(0) - top:.1f}'>"
            f"<title>{title}</title></rect>"
        )
        drawn.append(
            f"<circle class='dot' cx='{_x(mean):.1f}' cy='{_y(share):.1f}' r='4'><title>{title}</title></circle>"
        )
    x, y = np.array(points).T
    drawn.append(_path("all", x, y))
    return "".join([*drawn, "</svg>"])


def _frame(below: str, beside: str, title: str) -> str:
    """Open a square with lines at every fifth, from 0 to 1 both ways."""
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    parts = [f"<svg class='square' viewBox='0 0 {width} {height}' role='img' aria-label='{title}'>"]
    for step in range(6):
        x, y = _x(step / 5), _y(step / 5)
        parts.append(f"<line class='grid' x1='{x:.1f}' x2='{x:.1f}' y1='{_y(1):.1f}' y2='{_y(0):.1f}'/>")
        parts.append(f"<line class='grid' x1='{_x(0):.1f}' x2='{_x(1):.1f}' y1='{y:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text x='{x:.1f}' y='{_y(0) + 17:.1f}' text-anchor='middle'>{step / 5:g}</text>")
        parts.append(f"<text x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{step / 5:g}</text>")
    middle = _TOP + _SIDE / 2
    parts.append(f"<text x='{_LEFT + _SIDE / 2}' y='{_y(0) + 37:.1f}' text-anchor='middle'>{below}</text>")
    parts.append(f"<text x='13' y='{middle}' text-anchor='middle' transform='rotate(-90 13 {middle})'>{beside}</text>")
    return "".join(parts)


def _path(kind: str, x: NDArray[np.float64], y: NDArray[np.float64], title: str = "") -> str:
    points = "L".join(f"{_x(float(a)):.1f} {_y(float(b)):.1f}" for a, b in zip(x, y, strict=True))
    return f"<path class='{kind}' fill='none' d='M{points}'>{f'<title>{title}</title>' if title else ''}</path>"


def _x(share: float) -> float:
    return _LEFT + share * _SIDE


def _y(share: float) -> float:
    return _TOP + (1 - share) * _SIDE
