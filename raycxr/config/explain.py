"""What pydantic found wrong with a configuration, told in one line for its author."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from raycxr.config.sections import Config
from raycxr.errors import ConfigurationError


def explain(error: ValidationError, origin: str, overrides: Sequence[str] = ()) -> ConfigurationError:
    """Name every wrong key with its value, whence it is, and the choices or the nearest known key."""
    # Of two overrides of one key the last one holds.
    given = {override.partition("=")[0]: override for override in overrides}
    problems: dict[str, list[str]] = {}
    remedies: list[str] = []
    for detail in error.errors():
        problem, remedy = _explain_one(detail)
        key = ".".join(str(part) for part in detail["loc"])
        override = next((text for name, text in given.items() if f"{key}.".startswith(f"{name}.")), None)
        place = origin if override is None else f"the override {_without_password(override)}"
        problems.setdefault(place, []).append(problem)
        if remedy and remedy not in remedies:
            remedies.append(remedy)
    told = "; ".join(f"{place}: {'; '.join(found)}" for place, found in problems.items())
    return ConfigurationError(told, "; ".join(remedies))


def nearest(name: str, choices: Iterable[str]) -> str:
    """Say which of the choices is meant, or list them all."""
    known = list(choices)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _without_password(text: str) -> str:
    """Text without what stands before the host of a URI."""
    return re.sub(r"://[^/\s]*@", "://...@", text)


def _explain_one(detail: Any) -> tuple[str, str]:
    location = [str(part) for part in detail["loc"]]
    key, kind, value = ".".join(location), detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return f"unknown key {key!r}", nearest(location[-1], _keys_of(location[:-1]))
    if kind == "missing":
        return f"{key} is missing", f"set {key}=..."
    if kind == "literal_error":
        return f"{key} = {value!r} is unknown", f"choose one of {detail['ctx']['expected']}"
    if kind == "value_error":
        return f"{key}: {detail['ctx']['error']}", f"change {key}"
    if kind == "model_type":
        return (
            f"{key} = {value!r} is a value, {key} is a section",
            f"set one of its keys: {', '.join(_keys_of(location))}",
        )
    message = str(detail["msg"])
    return f"{key} = {value!r}: {message[0].lower()}{message[1:]}", f"set {key} to such a value"


def _keys_of(location: Sequence[str]) -> list[str]:
    """Keys that the section at a place in the configuration knows."""
    model: type[BaseModel] = Config
    parts = iter(location)
    for part in parts:
        field = model.model_fields.get(part)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not inner:
            return []
        model = inner[0]
        if field is not None and get_origin(field.annotation) is dict:
            # The name that the user gave the section.
            next(parts, None)
    return list(model.model_fields)
