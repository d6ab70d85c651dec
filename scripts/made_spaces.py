"""Search spaces of every form, with conditions on keys of every kind and conditions on those."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from raycxr.config.tune import KINDS, ParameterSection
from raycxr.tuning.space import Space

KEYS = ("model.name", "model.encoder", "loss", "optimizer.lr", "augment.noise")
FINITE = ("choice", "grid", "randint")
CHOICES = ([0], [0, 1], ["a", "b", None], [{"dice": 1.0, "bce": 0.5}, {"dice": 1.0}], [0.5, "x"])
VALUES: dict[str, tuple[Any, ...]] = {
    "choice": CHOICES,
    "grid": CHOICES,
    "randint": ((0, 1), (3, 5)),
    "loguniform": ((1e-4, 1e-2), (1.0, 1.0000000000000002), (3e-7, 1e3)),
    "uniform": ((0.0, 1.0), (-2.0, 5.0)),
}


def listed(parameter: ParameterSection) -> list[Any]:
    """All values of a parameter that is not a range of real numbers."""
    if parameter.values is not None:
        return parameter.values
    assert parameter.randint is not None
    low, high = parameter.randint
    return list(range(low, high + 1))


def make_space(seed: int, kinds: tuple[str, ...]) -> Space:
    """Up to five keys, in an order in which each comes after those that its condition names."""
    draw = random.Random(seed)
    parameters: dict[str, ParameterSection] = {}
    for key in KEYS[: draw.randint(1, len(KEYS))]:
        finite = [name for name, parameter in parameters.items() if parameter.kind in FINITE]
        when: dict[str, Any] = {}
        for name in draw.sample(finite, min(len(finite), draw.choice([0, 1, 1, 2]))):
            values = listed(parameters[name])
            when[name] = draw.choice([draw.choice(values), draw.sample(values, draw.randint(1, len(values)))])
        kind = draw.choice(kinds)
        parameters[key] = ParameterSection.model_validate({kind: draw.choice(VALUES[kind]), "when": when})
    return Space(parameters)


def spaces(kinds: tuple[str, ...] = KINDS) -> st.SearchStrategy[Space]:
    """Made from a number each: drawn part by part they would take longer than what is tested with them."""
    return st.builds(make_space, st.integers(0, 2**32), st.just(kinds))
