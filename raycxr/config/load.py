"""From a YAML file and overrides to a checked `Config`.

Order: the files named by `extends` from the root down, then the file, then the overrides, then `${NAME}`.
Environment variables come last so that an override can replace a value whose variable is not set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from raycxr.config.explain import explain
from raycxr.config.sections import Config
from raycxr.errors import ConfigurationError

# Mappings whose keys are the user's own: a file that names one replaces the inherited one whole.
FREE_MAPPINGS = {("loss",), ("ingest", "classes"), ("sampling", "source_weights"), ("tune", "space")}
# A file or an override that names a preset starts its section anew: inherited keys would go over those of the preset.
PRESET = ("augment", "preset")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read, merge, fill in and check a configuration.

    Parameters
    ----------
    path : str or Path
        YAML file.
    overrides : sequence of str
        `section.key=value`, the value in YAML (`train.epochs=5`, `loss={bce: 1}`, `train.patience=null`).

    Raises
    ------
    ConfigurationError
        A file is missing or malformed, a key unknown, a value wrong, or an environment variable unset.
    """
    try:
        values = _read_with_parents(Path(path), ())
        for override in overrides:
            _apply_override(values, override)
        return check_config(_substitute(values, ()), str(path), overrides)
    except RecursionError:
        raise ConfigurationError(
            f"{path} is nested too deeply, or holds an alias of what it lies in", "write the values out"
        ) from None


def check_config(values: Mapping[str, Any], origin: str, overrides: Sequence[str] = ()) -> Config:
    """Turn plain values into a `Config`, or raise one line that names origin, key, value and choices.

    Parameters
    ----------
    origin : str
        Where the values come from, but for those of overrides.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise explain(error, origin, overrides) from None


def to_yaml(config: Config) -> str:
    """Write a resolved configuration as YAML that `load_config` reads back to an equal one."""
    values = _without_default_nulls(config, config.model_dump(mode="json"))
    return yaml.safe_dump(values, sort_keys=False, width=100)


def _without_default_nulls(section: BaseModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is null where it is left out; null in place of another default stays."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        inner = getattr(section, key)
        if isinstance(inner, BaseModel):
            kept[key] = _without_default_nulls(inner, value)
        elif value is not None or type(section).model_fields[key].get_default(call_default_factory=True) is not None:
            kept[key] = value
    return kept


def config_files(path: str | Path) -> list[Path]:
    """Absolute paths of a configuration and of the files that it extends, itself first."""
    files: list[Path] = []
    following: Path | None = Path(path).resolve()
    while following is not None and following not in files:
        files.append(following)
        parent = _read_yaml(following).get("extends")
        following = (following.parent / parent).resolve() if isinstance(parent, str) else None
    return files


def _read_with_parents(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in seen:
        chain = " -> ".join(p.name for p in (*seen, path))
        raise ConfigurationError(f"{path}: 'extends' goes round in a circle: {chain}", "remove one 'extends'")
    values = _read_yaml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise ConfigurationError(f"{path}: extends = {parent!r} is not a file name", "name one YAML file")
    return _merge(_read_with_parents(path.parent / parent, (*seen, path)), values, ())


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"no configuration at {path}", "check the file name") from None
    except IsADirectoryError:
        raise ConfigurationError(f"{path} is a folder, not a configuration", "name a YAML file in it") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is no configuration: not UTF-8 text (byte {error.start})", "name a YAML file"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", "name a readable YAML file") from None
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path} is not valid YAML{_place_in_yaml(error)}", "mend that line") from None
    if values is None:
        raise ConfigurationError(f"{path} is empty", "write 'section:' and its keys below, see raycxr config --help")
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} holds no sections", "write 'section:' and its keys below")
    return values


def _place_in_yaml(error: yaml.YAMLError | ValueError) -> str:
    """Where the text stops being YAML, and why."""
    if isinstance(error, ReaderError):
        return f": character {error.position + 1} is a control character"
    where = getattr(error, "problem_mark", None)
    line = f" at line {where.line + 1}" if where is not None else ""
    # A date such as 2024-02-30 is a ValueError.
    return f"{line}: {getattr(error, 'problem', None) or error}"


def _merge(base: dict[str, Any], top: Mapping[str, Any], where: tuple[str, ...]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        inner = merged.get(key)
        here = (*where, str(key))
        if isinstance(inner, dict) and isinstance(value, dict) and not _starts_anew(here, value):
            merged[key] = _merge(inner, value, here)
        else:
            merged[key] = value
    return merged


def _starts_anew(where: tuple[str, ...], values: Mapping[str, Any]) -> bool:
    return where in FREE_MAPPINGS or (where == PRESET[:-1] and PRESET[-1] in values)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigurationError(
            f"override {override!r} is not of the form section.key=value", "example: train.epochs=5"
        )
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigurationError(f"override {key}: {text!r} is not valid YAML", "quote the value") from None
    set_key(values, key.strip(), value)


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in plain values, as an override does; a preset starts its section anew.

    Raises
    ------
    ConfigurationError
        A part of the key before the last holds a value.
    """
    parts = key.split(".")
    section = values
    for part in parts[:-1]:
        inner = section.get(part)
        if inner is None:
            inner = section[part] = {}
        if not isinstance(inner, dict):
            raise ConfigurationError(f"override {key}: {part!r} holds a value, not keys", "set the value itself")
        section = inner
    if tuple(parts) == PRESET:
        section.clear()
    section[parts[-1]] = value


def _substitute(value: Any, where: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(inner, (*where, str(key))) for key, inner in value.items()}
    if isinstance(value, list):
        return [_substitute(inner, where) for inner in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            key = ".".join(where)
            raise ConfigurationError(
                f"{key} = {value!r}: the environment variable {name} is not set",
                f"export {name}=... or give {key}=... on the command line",
            )
        return os.environ[name]

    return VARIABLE.sub(replace, value)
