"""Which shards are read, and how their films are divided."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raycxr.config.section import NonNegative, Section


class SplitSection(Section):
    """How films are divided into train, validation and test; a patient is always on one side only.

    `fraction` divides in the proportions `train : validation : test` (0.8 : 0.1 : 0.1 or 198 : 23 : 25).
    `scr-folds` is the SCR protocol: fold 1 holds the odd and fold 2 the even films; `fold` is the one tested.
    `k-fold` tests fold `fold` of `folds`. Both take the share `validation_fraction` of the rest for validation.
    `given` uses the folders or tables of the source (train, validation, test).
    With `validation_folds` the films that are not tested are divided anew: fold `validation_fold` of so many validates,
    the others train.
    """

    rule: Literal["fraction", "scr-folds", "k-fold", "given"] = "fraction"
    train: NonNegative = 0.8
    validation: NonNegative = 0.1
    test: NonNegative = 0.1
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    folds: Annotated[int, Field(ge=2)] = 5
    fold: Annotated[int, Field(ge=1)] = 1
    validation_folds: Annotated[int, Field(ge=2)] | None = None
    validation_fold: Annotated[int, Field(ge=1)] = 1
    seed: int = 0

    @model_validator(mode="after")
    def _fold_exists(self) -> SplitSection:
        if self.validation_folds is not None and self.validation_fold > self.validation_folds:
            raise ValueError(f"validation_fold {self.validation_fold} is none of 1 to {self.validation_folds}")
        available = {"scr-folds": 2, "k-fold": self.folds}.get(self.rule)
        if available is not None and self.fold > available:
            raise ValueError(f"fold {self.fold} does not exist: {self.rule} has folds 1 to {available}")
        if self.rule == "fraction" and self.train + self.validation + self.test <= 0:
            raise ValueError("train, validation and test are all zero")
        return self


class DatasetSection(Section):
    """The shards that training and evaluation read."""

    uri: str | None = Field(None, description="data set to read; where unset, ingest.out")
    split: SplitSection | None = Field(None, description="split rule; where unset, the one in the manifest")
    target: Literal["multilabel", "multiclass"] = Field(
        "multilabel", description="structures may overlap (sigmoid) or exclude each other (softmax)"
    )
    precedence: tuple[str, ...] | None = Field(
        None, description="multiclass: which class wins where several overlap; where unset, the class order"
    )
    cache: str | None = Field(
        None,
        description="folder of the node's shard cache; where unset, $RAYCXR_CACHE or ~/.cache/raycxr/shards",
    )
