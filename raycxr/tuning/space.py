"""A search space: which parameters a candidate has, and the configuration that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raycxr.config.load import FREE_MAPPINGS, check_config, set_key
from raycxr.config.model import ModelSection
from raycxr.config.sections import Config
from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.errors import ConfigurationError

# Sections and keys that say where and how a sweep runs, or which films there are, and not what a trial learns.
FIXED = ("tune", "ingest", "storage", "resources", "tracking", "evaluate", "classify", "dataset.uri", "dataset.cache",
         "dataset.split", "train.name", "train.metric")  # fmt: skip
Parameters = dict[str, Any]


class Draw(Protocol):
    """Chooses the value of one parameter."""

    def __call__(self, key: str, parameter: ParameterSection) -> Any:
        """Return a value of `choice` or `grid`, or a number within the bounds."""


@dataclass(frozen=True)
class Space:
    """Keys and their values, in an order in which each comes after those that its `when` names."""

    parameters: dict[str, ParameterSection]

    def draw(self, draw: Draw, given: Mapping[str, Any]) -> Parameters:
        """Parameters of one candidate: those given, and the others drawn where their conditions hold."""
        chosen: Parameters = {}
        for key, parameter in self.parameters.items():
            if self.applies(key, chosen):
                chosen[key] = given[key] if key in given else draw(key, parameter)
        return chosen

    def applies(self, key: str, chosen: Mapping[str, Any]) -> bool:
        """Whether a key is varied beside what is chosen already."""
        conditions = self.parameters[key].when.items()
        return all(name in chosen and chosen[name] in _listed(values) for name, values in conditions)

    def combinations(self, kinds: tuple[str, ...]) -> Iterator[Parameters]:
        """Every combination of the parameters of some kinds, in order; ranges of whole numbers are written out."""
        found: dict[str, ParameterSection] = {}
        for key, parameter in self.parameters.items():
            if parameter.kind in kinds:
                # Where a condition names a key of another kind it is not known yet, and the value stands ready for it.
                when = {name: values for name, values in parameter.when.items() if name in found}
                found[key] = parameter.model_copy(update={"when": when})
        yield from Space(found)._combine(list(found), {})

    def _combine(self, keys: list[str], chosen: Parameters) -> Iterator[Parameters]:
        """Every combination that begins with the values chosen; all keys are those of `choice`, `grid` or `randint`."""
        if not keys:
            yield chosen
            return
        first, *rest = keys
        if not self.applies(first, chosen):
            yield from self._combine(rest, chosen)
            return
        for value in _values(self.parameters[first]):
            yield from self._combine(rest, {**chosen, first: value})


def build_space(section: TuneSection, base: Config) -> Space:
    """Order and check a space.

    Raises
    ------
    ConfigurationError
        It is empty, a key or a value is not one of the configuration's, a condition names a key that is not varied or
        a value that it never has, or a point is not of this space.
    """
    if not section.space:
        raise ConfigurationError(
            "tune.space is empty: nothing is varied",
            "set it, such as tune.space={optimizer.lr: {loguniform: [1e-4, 1e-2]}}",
        )
    for key, parameter in section.space.items():
        leaves = {leaf for value in parameter.values or [None] for leaf, _ in _leaves(key, value)}
        for leaf in sorted(leaves):
            if any(leaf == fixed or leaf.startswith(f"{fixed}.") for fixed in FIXED):
                raise ConfigurationError(f"tune.space: {leaf} cannot be varied", "vary what a trial learns from")
        for value in parameter.values or []:
            _check_paths(key, value)
        if section.seeds > 1 and "train.seed" in leaves:
            raise ConfigurationError("tune.seeds and tune.space both set train.seed", "leave one of them out")
        if section.searcher == "grid" and parameter.kind in ("uniform", "loguniform"):
            raise ConfigurationError(
                f"tune.space: {key} is a range, and a grid has no end there",
                "name its values with choice, or set tune.searcher=random or tpe",
            )
    space = Space(_ordered(section.space))
    for key, parameter in space.parameters.items():
        conditions = _conditions(space, key)
        for value in parameter.values or [*bounds(parameter), *_within_range(parameter)]:
            _check_value(base, conditions | {key: value})
    for point in section.points:
        _check_point(point, space)
    return space


def with_parameters(base: Config, parameters: Mapping[str, Any]) -> Config:
    """Configuration of one candidate.

    A section's parameter that is a mapping of keys sets only these. Options of the model that the base has, and another
    network that is chosen here has no use for, fall back to their defaults.

    Raises
    ------
    ConfigurationError
        The configuration refuses a value.
    """
    from raycxr.models.choices import used_options

    values = base.model_dump(mode="json")
    # A preset first: it starts its section anew.
    leaves = dict(leaf for key, value in parameters.items() for leaf in _leaves(key, value))
    for key in sorted(leaves, key=lambda key: not key.endswith(".preset")):
        set_key(values, key, leaves[key])
    chosen = {key for key in leaves if key.startswith("model.")}
    if "model.name" in chosen:
        used = used_options(check_config(values, "tune.space").model)
        for name, field in ModelSection.model_fields.items():
            if name not in used and f"model.{name}" not in chosen:
                values["model"][name] = field.default
    return check_config(values, "tune.space")


def random_draw(generator: np.random.Generator) -> Draw:
    """Draw independently of everything else."""

    def draw(key: str, parameter: ParameterSection) -> Any:
        if parameter.values is not None:
            return parameter.values[int(generator.integers(len(parameter.values)))]
        if parameter.randint is not None:
            return int(generator.integers(parameter.randint[0], parameter.randint[1], endpoint=True))
        if parameter.loguniform is not None:
            low, high = np.log(parameter.loguniform)
            # Rounding must not lead out of the bounds.
            return float(np.clip(np.exp(generator.uniform(low, high)), *parameter.loguniform))
        assert parameter.uniform is not None
        return float(generator.uniform(*parameter.uniform))

    return draw


def _ordered(space: Mapping[str, ParameterSection]) -> dict[str, ParameterSection]:
    """Each key after those that its condition names."""
    ordered: dict[str, ParameterSection] = {}
    waiting = dict(space)
    while waiting:
        ready = [key for key, parameter in waiting.items() if all(name in ordered for name in parameter.when)]
        if not ready:
            key, parameter = next(iter(waiting.items()))
            unknown = [name for name in parameter.when if name not in space]
            if unknown:
                raise ConfigurationError(
                    f"tune.space: {key} depends on {unknown[0]}, which is not varied",
                    f"add {unknown[0]} to the space, or leave out its 'when'",
                )
            raise ConfigurationError(
                f"tune.space: the conditions of {', '.join(waiting)} depend on each other", "leave one 'when' out"
            )
        ordered |= {key: waiting.pop(key) for key in ready}
    return ordered


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Keys that a value sets: one, or of a section several together."""
    if isinstance(value, Mapping) and tuple(key.split(".")) not in FREE_MAPPINGS:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def _values(parameter: ParameterSection) -> list[Any]:
    if parameter.values is not None:
        return parameter.values
    assert parameter.randint is not None
    return list(range(parameter.randint[0], parameter.randint[1] + 1))


def bounds(parameter: ParameterSection) -> list[Any]:
    """Least and greatest value of a range, nothing of a choice."""
    return list(parameter.uniform or parameter.loguniform or parameter.randint or ())


def _within_range(parameter: ParameterSection) -> list[float]:
    """A number from inside a range of real ones, which a key for whole numbers refuses."""
    limits = parameter.uniform or parameter.loguniform
    return [] if limits is None else [limits[0] + (limits[1] - limits[0]) / np.e]


def _listed(values: Any) -> list[Any]:
    """The values that a condition names."""
    return values if isinstance(values, list) else [values]


def _conditions(space: Space, key: str) -> Parameters:
    """Parameters with which a key is varied."""
    chosen: Parameters = {}
    for name, values in space.parameters[key].when.items():
        for value in _listed(values):
            if not within(space.parameters[name], value):
                raise ConfigurationError(
                    f"tune.space: {key} depends on {name} = {value!r}, which is not among its values",
                    f"mend its 'when', or widen {name}",
                )
        chosen |= _conditions(space, name) | {name: _listed(values)[0]}
    return chosen


def _check_value(base: Config, parameters: Parameters) -> None:
    """Refuse a key that does not exist, or a value that the configuration does not take there."""
    try:
        with_parameters(base, parameters)
    except ConfigurationError as error:
        message = error.message.removeprefix("tune.space: ")
        raise ConfigurationError(f"tune.space: {message}", error.remedy) from None


def _check_paths(key: str, value: Any) -> None:
    """Refuse a path that only a process in this folder finds."""
    for leaf, text in _leaves(key, value):
        names_a_file = leaf == "train.start_from" or (leaf == "model.encoder_weights" and "/" in str(text))
        if names_a_file and isinstance(text, str) and not text.startswith(("/", "s3://")):
            raise ConfigurationError(
                f"tune.space: {leaf} = {text!r} is a relative path, and trials run in other folders",
                "give the whole path, or s3://",
            )


def _check_point(point: Mapping[str, Any], space: Space) -> None:
    for key, value in point.items():
        if key not in space.parameters:
            raise ConfigurationError(
                f"tune.points: {key} is not in tune.space", f"name some of {', '.join(space.parameters)}"
            )
        if not within(space.parameters[key], value):
            raise ConfigurationError(
                f"tune.points: {key} = {value!r} is not among its values", "choose one, or widen tune.space"
            )


def within(parameter: ParameterSection, value: Any) -> bool:
    """Whether a value is one that a parameter may take."""
    if parameter.values is not None:
        return value in parameter.values
    low, high = bounds(parameter)
    return isinstance(value, int if parameter.randint else int | float) and low <= value <= high
