"""Conditions on runs, such as `model.name=unet` or `optimizer.lr<0.001`: keys of their configuration, and `status`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from raycxr.config.explain import nearest
from raycxr.config.sections import Config
from raycxr.errors import ConfigurationError

STATUS = "status"
STATUSES = ("running", "finished", "stopped", "failed", "interrupted")
_FORM = re.compile(r"([^=!<>]+)(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)
# YAML takes 1e-3 for a word, and wants 1.0e-3.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """`key`, one of `=`, `!=`, `<`, `>`, `<=`, `>=`, and a value; `text` is the value as it was written."""

    key: str
    comparison: str
    value: Any
    text: str

    def __str__(self) -> str:
        return f"{self.key}{self.comparison}{self.text}"

    def holds(self, settings: Mapping[str, Any]) -> bool:
        """Whether a run's settings fulfil it; a key that they do not have is null."""
        found = setting(settings, self.key)
        if self.comparison in _ORDERS:
            return _is_number(found) and _ORDERS[self.comparison](found, self.value)
        # A word that YAML takes for something else, such as a date or the name 007, is meant as it stands.
        same = _equal(found, self.value) or (isinstance(found, str) and found == self.text)
        return same == (self.comparison == "=")


def parse_condition(text: str) -> Condition:
    """Read `KEY=VALUE`, or another comparison, the value in YAML.

    Raises
    ------
    ConfigurationError
        It has not that form, the value is not YAML, or a number is needed and none is given.
    """
    match = _FORM.fullmatch(text)
    key = match[1].strip() if match else ""
    if match is None or not all(part.strip() for part in key.split(".")):
        raise ConfigurationError(
            f"condition {text!r} is not of the form KEY=VALUE",
            "examples: model.name=unet 'optimizer.lr<0.001' status!=failed",
        )
    comparison, written = match[2].replace("==", "="), match[3].strip()
    try:
        value = yaml.safe_load(written)
    except (yaml.YAMLError, ValueError):
        raise ConfigurationError(f"condition {key}: {written!r} is not valid YAML", "quote the value") from None
    if isinstance(value, str) and value == written and _EXPONENT.fullmatch(value):
        value = float(value)
    if comparison in _ORDERS and not _is_number(value):
        raise ConfigurationError(
            f"condition {text!r}: {written!r} is not a number", f"name one behind {comparison}, or compare with = or !="
        )
    if key == STATUS:
        check_status(written)
    return Condition(key, comparison, value, written)


def check_status(name: str) -> str:
    """Return the name of a status; a `ConfigurationError` lists those there are."""
    if name not in STATUSES:
        raise ConfigurationError(f"status {name!r} is unknown", f"choose from {', '.join(STATUSES)}")
    return name


def check_conditions(conditions: Sequence[Condition], runs: Sequence[Mapping[str, Any]]) -> None:
    """Check the keys against the configuration, and the settings that the runs have beyond it.

    Raises
    ------
    ConfigurationError
        A key is unknown, or it is a section and not compared with one.
    """
    for condition in conditions:
        check_key(condition.key, runs)
        inner = sorted({f"{condition.key}.{name}" for run in runs for name in _inside(setting(run, condition.key))})
        if inner and condition.value is not None and not isinstance(condition.value, Mapping):
            raise ConfigurationError(
                f"condition {str(condition)!r}: {condition.key} holds keys, not a value",
                f"name one of them: {', '.join(inner)}",
            )


def check_key(key: str, runs: Sequence[Mapping[str, Any]], words: Sequence[str] = ()) -> None:
    """Check that a key is one of the configuration, of some run's settings, or one of the words.

    Raises
    ------
    ConfigurationError
        It is unknown; says which is meant.
    """
    known = dict.fromkeys([*words, STATUS, *_keys_of_section(Config, "")])
    if key in known:
        return
    for run in runs:
        known |= dict.fromkeys(_keys_of_settings(run, ""))
    if key in known:
        return
    section, _, last = key.rpartition(".")
    inside = [one.rpartition(".")[2] for one in known if section and one.rpartition(".")[0] == section]
    if inside:
        raise ConfigurationError(f"unknown key {key!r}", nearest(last, inside))
    alike = [one for one in known if one.rpartition(".")[2] == last]
    raise ConfigurationError(f"unknown key {key!r}", nearest(key, alike or [one for one in known if "." not in one]))


def setting(settings: Mapping[str, Any], key: str) -> Any:
    """Value of a dotted key, None where there is none."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _keys_of_section(section: type[BaseModel], where: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = f"{where}{name}"
        yield key
        kinds = () if get_origin(field.annotation) is dict else (field.annotation, *get_args(field.annotation))
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _keys_of_section(kind, f"{key}.")


def _keys_of_settings(settings: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, value in settings.items():
        yield f"{where}{name}"
        if isinstance(value, Mapping):
            yield from _keys_of_settings(value, f"{where}{name}.")


def _inside(value: Any) -> Iterable[str]:
    return value if isinstance(value, Mapping) else ()


def _equal(found: Any, wanted: Any) -> bool:
    """Equality in which true is not 1, but 1 is 1.0."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return found.keys() == wanted.keys() and all(_equal(found[name], wanted[name]) for name in found)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_equal, found, wanted))
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
