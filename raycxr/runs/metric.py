"""Names of recorded metrics and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from raycxr.errors import ConfigurationError

Mode = Literal["min", "max"]
LOWER_IS_BETTER = {"loss", "hd95", "assd", "calibration_error", "image_calibration_error"}


def default_mode(name: str) -> Mode:
    """`min` for losses, distances and errors of calibration, else `max`."""
    return "min" if name.split(".")[0] in LOWER_IS_BETTER else "max"


def metric_value(metrics: Mapping[str, Any], name: str) -> float:
    """Value of `dice.heart`, `dice` (its mean) or `loss` among recorded metrics.

    Raises
    ------
    ConfigurationError
        Not recorded; lists what is.
    """
    value: Any = metrics
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        value = value.get("mean")
    if not isinstance(value, int | float):
        raise ConfigurationError(f"metric {name!r} is not recorded", f"choose from {', '.join(metric_names(metrics))}")
    return float(value)


def metric_names(metrics: Mapping[str, Any]) -> list[str]:
    """All names that `metric_value` accepts, in full."""
    names: list[str] = []
    for name, value in metrics.items():
        names += [f"{name}.{inner}" for inner in value] if isinstance(value, Mapping) else [name]
    return names


def is_better(value: float, best: float | None, mode: Mode) -> bool:
    """Whether a value beats the best one so far; a NaN never does."""
    if value != value:
        return False
    if best is None or best != best:
        return True
    return value > best if mode == "max" else value < best


def check_mode(mode: str | None) -> Mode | None:
    """Turn an option into a mode; None where it is not given.

    Raises
    ------
    ConfigurationError
        Neither max nor min.
    """
    if mode is None:
        return None
    if mode == "max":
        return "max"
    if mode == "min":
        return "min"
    raise ConfigurationError(f"--mode {mode!r} is unknown", "choose max or min")
