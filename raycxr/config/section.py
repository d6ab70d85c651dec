"""What every section of a configuration shares: its rules, and the types of its numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A section: unknown keys are errors, and a value never changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
