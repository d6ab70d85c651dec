"""A parameter of a sweep: the choices or the range that it was drawn from, and where a value stands among them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from raycxr.report.scale import Scale
from raycxr.runs.sweep import Candidate, parameter_text

CHOICES, RANGES = ("choice", "grid"), ("uniform", "loguniform", "randint")
# Letters of a value beyond which it is cut where there is little room.
SHORT = 22


@dataclass(frozen=True)
class SearchedParameter:
    """One key of a sweep's space.

    Attributes
    ----------
    choices : tuple or None
        Its values, of one that is chosen among some; None for a number within a range.
    scale : Scale or None
        The range, widened to what was tried.
    whole : bool
        Whether only whole numbers are drawn from the range.
    """

    key: str
    choices: tuple[Any, ...] | None
    scale: Scale | None
    whole: bool = False

    def choice_of(self, candidate: Candidate) -> int | None:
        """Which of the choices a candidate has; None where the parameter does not apply to it."""
        if self.choices is None or self.key not in candidate.parameters:
            return None
        same = identity(candidate.parameters[self.key])
        return next((place for place, choice in enumerate(self.choices) if identity(choice) == same), None)

    def number_of(self, candidate: Candidate) -> float | None:
        """Number that a candidate has; None where the parameter does not apply to it."""
        return None if self.scale is None else _number(candidate.parameters.get(self.key), self.scale.log)

    def applies(self, candidate: Candidate) -> bool:
        """Whether a candidate has a value."""
        return self.choice_of(candidate) is not None or self.number_of(candidate) is not None


def searched_parameters(space: Mapping[str, Mapping[str, Any]], tried: Sequence[Candidate]) -> list[SearchedParameter]:
    """Parameters in the order of the space, and after them any that only candidates have."""
    keys = [*space, *(key for candidate in tried for key in candidate.parameters)]
    return [_parameter(key, space.get(key, {}), tried) for key in dict.fromkeys(keys)]


def identity(value: Any) -> str:
    """What tells choices apart that may be mappings or lists."""
    return json.dumps(value, sort_keys=True, default=str)


def cut(text: str) -> str:
    """A text in at most `SHORT` letters, a cut one with an ellipsis."""
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def heading(key: str) -> str:
    """Name of a parameter as HTML: the last part of its key, and small above it those before."""
    section, _, name = key.rpartition(".")
    return (f"<small>{escape(section)}</small>" if section else "") + escape(name)


def setting(parameters: Mapping[str, Any], keys: Sequence[str]) -> str:
    """All parameters of a candidate in one line: `model.name unet, optimizer.lr 0.0003`."""
    return ", ".join(f"{key} {parameter_text(parameters[key])}" for key in keys if key in parameters)


def _parameter(key: str, space: Mapping[str, Any], tried: Sequence[Candidate]) -> SearchedParameter:
    values = [candidate.parameters[key] for candidate in tried if key in candidate.parameters]
    kind = next((kind for kind in (*CHOICES, *RANGES) if space.get(kind) is not None), None)
    if kind in RANGES:
        log = kind == "loguniform"
        numbers = [float(bound) for bound in space[kind]]
        numbers += [number for value in values if (number := _number(value, log)) is not None]
        return SearchedParameter(key, None, Scale(min(numbers), max(numbers), log), kind == "randint")
    known = {identity(value): value for value in [*(space[kind] if kind else ()), *values]}
    choices = list(known.values())
    if all(_number(choice, False) is not None for choice in choices):
        choices.sort()
    return SearchedParameter(key, tuple(choices), None)


def _number(value: Any, log: bool) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return None if log and value <= 0 else float(value)
