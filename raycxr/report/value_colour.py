"""Colours of metric values: viridis in nine steps, the best one farthest from the page, light or dark.

Viridis rises evenly in lightness, so that it is read without colour vision and in grey print.
"""

from __future__ import annotations

from raycxr.report.scale import Scale
from raycxr.report.sweep_results import value_text
from raycxr.runs.metric import Mode

_LIGHT = ("#86d549", "#4cc26c", "#25ac82", "#20938c", "#297b8e", "#34618d", "#404588", "#482576", "#440154")
_DARK = ("#375a8c", "#2d718e", "#24868e", "#1e9c89", "#2cb17e", "#52c569", "#86d549", "#c2df23", "#fde725")


def _classes(colours: tuple[str, ...]) -> str:
    return " ".join(f".q{step} {{ --value: {colour}; }}" for step, colour in enumerate(colours))


# `--best` marks the best candidate: vermilion, which is told from viridis with any colour vision.
STYLE = f"""
:root {{ --best: #d55e00; }} {_classes(_LIGHT)}
@media (prefers-color-scheme: dark) {{ :root {{ --best: #ff8c3b; }} {_classes(_DARK)} }}
.swatch {{ display: inline-block; width: .7em; height: .7em; border-radius: 50%; background: var(--value);
  margin-right: .5em; print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
.steps {{ white-space: nowrap; }}
.steps i {{ display: inline-block; width: 1.5rem; height: .7rem; background: var(--value);
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
"""


def value_class(value: float, scale: Scale, mode: Mode) -> str:
    """CSS class that sets `--value` to a value's colour: `q0` at the worse end of the scale to `q8` at the better."""
    share = scale.share(value)
    goodness = share if mode == "max" or scale.low == scale.high else 1 - share
    return f"q{min(int(goodness * len(_LIGHT)), len(_LIGHT) - 1)}"


def value_legend(scale: Scale, mode: Mode, beyond: bool) -> str:
    """The steps from the worse end to the better; `beyond`: whether some values lie past the worse end."""
    worse, better = (scale.low, scale.high) if mode == "max" else (scale.high, scale.low)
    steps = "".join(f"<i class='q{step}'></i>" for step in range(len(_LIGHT)))
    end = f"{value_text(worse)}{' or worse' if beyond else ''}"
    return f"<span class='steps'>{end} {steps} {value_text(better)}</span>"
