"""A sweep: what is varied, how it is searched, and what it may cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from raycxr.config.section import Positive, Section

KINDS = ("choice", "grid", "uniform", "loguniform", "randint")


class ParameterSection(Section):
    """Values that one key may take; exactly one of the first five is given.

    `choice`: any of these. `grid`: each of these with every draw of the other keys. `uniform`, `loguniform`: a number
    between two bounds, evenly or evenly in its logarithm. `randint`: a whole number between two bounds, both among
    them. `when`: the key is varied only where other keys of the space have these values (one, or a list of several).
    """

    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    grid: Annotated[list[Any], Field(min_length=1)] | None = None
    uniform: tuple[float, float] | None = None
    loguniform: tuple[Positive, Positive] | None = None
    randint: tuple[int, int] | None = None
    when: dict[str, Any] = Field({})

    @field_validator("choice", "grid", mode="before")
    @classmethod
    def _numbers(cls, values: Any) -> Any:
        if not isinstance(values, list):
            return values
        numbers = [_number(value) for value in values]
        twice = [value for place, value in enumerate(numbers) if value in numbers[:place]]
        if twice:
            raise ValueError(f"{twice[0]!r} is named twice")
        return numbers

    @field_validator("uniform", "loguniform", "randint", mode="before")
    @classmethod
    def _two_bounds(cls, bounds: Any) -> Any:
        if bounds is None:
            return None
        if not isinstance(bounds, list | tuple) or len(bounds) != 2:
            raise ValueError(f"{bounds!r} is not two bounds, such as [1e-4, 1e-2]")
        return [_number(bound) for bound in bounds]

    @field_validator("when", mode="before")
    @classmethod
    def _numbers_of_conditions(cls, when: Any) -> Any:
        if not isinstance(when, Mapping):
            return when
        for key, values in when.items():
            if values == []:
                raise ValueError(f"no value of {key} is named")
        return {key: _numbers(values) for key, values in when.items()}

    @model_validator(mode="after")
    def _one_kind(self) -> ParameterSection:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)}, not {' and '.join(given) or 'none'}")
        bounds = self.uniform or self.loguniform or self.randint
        if bounds is not None and not -math.inf < bounds[0] < bounds[1] < math.inf:
            raise ValueError(f"{given[0]}: {bounds[0]:g} and {bounds[1]:g} are not two bounds, the lower one first")
        return self

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def values(self) -> list[Any] | None:
        """The values of `choice` and `grid`, None of a range."""
        return self.choice if self.choice is not None else self.grid


class TuneSection(Section):
    """A sweep over any keys of the configuration; its name is `train.name`."""

    space: dict[str, ParameterSection] = Field(
        {}, description="key -> its values: model.name: [unet, fpn], optimizer.lr: {loguniform: [1e-4, 1e-2]}"
    )
    searcher: Literal["random", "grid", "tpe"] = Field(
        "random", description="grid: every combination in order; tpe: Optuna's tree of Parzen estimators"
    )
    trials: Annotated[int, Field(ge=1)] | None = Field(
        None, description="candidates in all; where unset, every combination of a grid, else 20"
    )
    hours: Positive | None = Field(None, description="time after which the sweep ends, over all of its calls")
    gpu_hours: Positive | None = Field(None, description="the same, in hours of one GPU")
    metric: str | None = Field(None, description="validation metric; where unset, train.metric")
    mode: Literal["min", "max"] | None = Field(None, description="where unset, that of the metric")
    scheduler: Literal["none", "asha", "median", "pbt"] = Field(
        "asha",
        description="which trials end early: with asha all rest at rungs of epochs, and only the best part of each "
        "goes on; median ends those below the median of the others; pbt ends none, and lets the worst go on from the "
        "weights of the best with changed parameters",
    )
    grace_epochs: Annotated[int, Field(ge=1)] = Field(
        2, description="epochs that every trial may have; of pbt, epochs between two exchanges"
    )
    reduction: Annotated[float, Field(gt=1)] = Field(
        3, description="asha: rungs are so many times apart, and one trial in so many passes each"
    )
    seeds: Annotated[int, Field(ge=1)] = Field(1, description="trials of each candidate, with train.seed, +1, +2, ...")
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None, description="trials of each candidate, each validated on another fold of the films that are not tested"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the search itself")
    points: list[dict[str, Any]] = Field([], description="candidates to try first: key -> value, the rest is drawn")
    start_from: str | None = Field(
        None, description="an earlier sweep: its best candidate is tried first, and tpe learns from all of them"
    )
    at_once: Annotated[int, Field(ge=1)] | None = Field(
        None, description="trials at a time; where unset, as many as the cluster has room for"
    )
    wait_minutes: Positive = Field(15, description="how long to wait for a cluster with room for one trial")
    keep: Literal["best", "all"] = Field("best", description="whose weights stay in storage")

    @field_validator("space", mode="before")
    @classmethod
    def _flat(cls, space: Any) -> Any:
        return _flatten(space, "") if isinstance(space, Mapping) else space

    @field_validator("points")
    @classmethod
    def _numbers_of_points(cls, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{key: _number(value) for key, value in point.items()} for point in points]

    @model_validator(mode="after")
    def _fits_together(self) -> TuneSection:
        if self.seeds > 1 and self.folds is not None:
            raise ValueError("seeds and folds both divide a candidate into trials: set one of them")
        if self.scheduler == "pbt" and (self.seeds > 1 or self.folds is not None):
            raise ValueError("scheduler pbt changes trials as they run, and cannot compare seeds or folds")
        return self


def _flatten(space: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Dotted keys of a space that may be nested; a plain list stands for `choice`."""
    flat: dict[str, Any] = {}
    for name, value in space.items():
        key = f"{where}.{name}".lstrip(".")
        if isinstance(value, list):
            flat[key] = {"choice": value}
        elif isinstance(value, Mapping) and not _is_parameter(value):
            flat |= _flatten(value, key)
        else:
            flat[key] = value
    return flat


def _is_parameter(value: Mapping[str, Any]) -> bool:
    """Whether a mapping describes the values of a key, perhaps with a slip; any other one holds keys."""
    return not value or any(get_close_matches(str(key), (*KINDS, "when"), n=1, cutoff=0.75) for key in value)


def _numbers(values: Any) -> Any:
    return [_number(value) for value in values] if isinstance(values, list) else _number(values)


def _number(value: Any) -> Any:
    """YAML takes 1e-4, which has no point, for a text."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
