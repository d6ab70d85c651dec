"""Which films an epoch is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from raycxr.config.section import Positive, Section


class SamplingStage(Section):
    """A stretch of the run with one share of positive films."""

    epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how long it lasts; unset in the last stage, which lasts to the end"
    )
    positive_share: Annotated[float, Field(gt=0, le=1)] | Literal["natural"] = Field(
        "natural", description="share of the epoch's films that are positive; natural: as in the split"
    )

    @field_validator("positive_share", mode="before")
    @classmethod
    def _share_or_natural(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value == "natural" or (number and 0 < value <= 1):
            return value
        raise ValueError(f"{value!r} is neither natural nor a share above 0 and up to 1")


class SamplingSection(Section):
    """Which training films an epoch is made of; where nothing is set, of every film once.

    A film is positive where its mask has a pixel of any class, or of `positive_class`. Within the share that a stage
    sets, films are taken in turn, so that none comes again before all the others of its kind have come. Where a film
    comes more than once in an epoch, it is augmented anew each time.
    """

    stages: tuple[SamplingStage, ...] = Field((), description="shares of positive films, one stage after the other")
    positive_class: str | None = Field(None, description="class that makes a film positive; where unset, any")
    films_per_epoch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="rounded up to whole steps; where unset, as many as the training split has"
    )
    source_weights: dict[str, Positive] | None = Field(
        None, description="source -> how often its films are drawn, against 1 for those of other sources"
    )

    @model_validator(mode="after")
    def _stages_follow(self) -> SamplingSection:
        for number, stage in enumerate(self.stages, 1):
            if stage.epochs is None and number < len(self.stages):
                raise ValueError(f"stage {number} of {len(self.stages)} does not say how many epochs it lasts")
        if self.stages and self.stages[-1].epochs is not None:
            raise ValueError("the last stage lasts to the end of the run: leave out its epochs")
        if self.positive_class is not None and not self.stages:
            raise ValueError("positive_class means nothing without stages")
        return self

    @property
    def is_set(self) -> bool:
        """Whether epochs are anything but every film once."""
        return bool(self.stages or self.source_weights) or self.films_per_epoch is not None
