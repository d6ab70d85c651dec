"""The section `postprocess`: how probabilities become masks, and the search of the best way on validation films."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from raycxr.config.section import Fraction, Section

Probability = Annotated[float, Field(gt=0, lt=1)]


class TripletSection(Section):
    """Whether there is anything, and where, told apart: three numbers, as the winners of SIIM-ACR used them.

    A mask is kept only where the share `area` of the film or more lies above `top`; it then is what lies above
    `bottom`. The defaults are those of the winners, 2,000 pixels of 1024 x 1024 written as a share.
    """

    top: Probability = Field(0.75, description="what is surely part of the structure lies above it")
    area: Fraction = Field(0.0019, description="least share of the film's pixels above top")
    bottom: Probability = Field(0.3, description="the mask is what lies above it; at most top")

    @model_validator(mode="after")
    def _in_order(self) -> TripletSection:
        if self.top < self.bottom:
            raise ValueError(f"top ({self.top:g}) lies below bottom ({self.bottom:g})")
        return self


class RuleSection(Section):
    """From the probabilities of a class to its mask. The keys are applied in the order in which they stand here.

    Areas are shares of the film's own pixels, without the padding of the square that it was fitted into: a rule says
    the same at every size.
    """

    image_threshold: Probability | None = Field(
        None, description="image head: an image less probable than this has an empty mask; where unset, no such gate"
    )
    threshold: Probability | None = Field(
        None, description="the mask is what lies above it; where neither it nor triplet is set, 0.5"
    )
    triplet: TripletSection | None = Field(None, description="in place of threshold: top, area and bottom")
    min_area: Fraction | None = Field(None, description="components with a smaller share of the film are dropped")
    components: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how many components are kept, the largest ones; where unset, all"
    )
    fill_holes: bool | None = Field(None, description="true: holes are filled")

    @model_validator(mode="after")
    def _one_rule(self) -> RuleSection:
        if self.threshold is not None and self.triplet is not None:
            raise ValueError("threshold and triplet exclude each other")
        return self


class GridSection(Section):
    """What the search tries: every combination of the numbers that the rule has, triplets with top below bottom
    excepted.
    """

    image_threshold: tuple[Fraction, ...] = Field((0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1)
    threshold: tuple[Probability, ...] = Field(tuple(step / 20 for step in range(1, 20)), min_length=1)
    top: tuple[Probability, ...] = Field(tuple(step / 20 for step in range(10, 20)), min_length=1)
    area: tuple[Fraction, ...] = Field(
        (0, 0.0002, 0.0005, 0.0008, 0.0012, 0.0016, 0.0019, 0.003, 0.005, 0.01), min_length=1
    )
    bottom: tuple[Probability, ...] = Field(tuple(step / 20 for step in range(1, 11)), min_length=1)

    @model_validator(mode="after")
    def _some_triplet(self) -> GridSection:
        if max(self.top) < min(self.bottom):
            raise ValueError(f"every top lies below every bottom (from {min(self.bottom):g} on)")
        return self


class PostprocessSection(RuleSection):
    """From probabilities to masks: a rule for all classes, and what is different for one of them.

    A multiclass target takes the most probable class in place of a threshold or triplet.
    """

    classes: dict[str, RuleSection] = Field({}, description="class -> the keys that differ for it")
    search: bool = Field(
        False,
        description="true: once training has ended, the best bundle gets the image_threshold, threshold or triplet "
        "(whichever its rule has) with the highest mean Dice over the validation films, two empty masks counting 1",
    )
    grid: GridSection = GridSection()

    def of_class(self, name: str) -> RuleSection:
        """The rule of a class: its own keys, and the general ones where it has none."""
        own = self.classes.get(name, RuleSection())
        values = {key: getattr(self, key) for key in RuleSection.model_fields}
        if own.threshold is not None or own.triplet is not None:
            values["threshold"] = values["triplet"] = None
        values |= {key: value for key in RuleSection.model_fields if (value := getattr(own, key)) is not None}
        return RuleSection(**values)
