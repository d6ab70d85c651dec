"""How a trained model is measured."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from raycxr.config.section import Positive, Section


def _check_test_time(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in ("horizontal_flip", "vertical_flip") and not re.fullmatch(r"scale_(\d+(\.\d+)?)", name):
            raise ValueError(
                f"{name!r} is unknown, choose horizontal_flip, vertical_flip or a scale such as scale_1.25"
            )
        if name.startswith("scale_") and not (0.25 <= float(name[6:]) <= 4 and float(name[6:]) != 1):
            raise ValueError(f"{name!r} is out of range, choose a scale from 0.25 to 4 other than 1")
    if len(set(names)) < len(names):
        raise ValueError("a view is named twice")
    return names


class EvaluateSection(Section):
    """Measuring a trained model."""

    resolution: Literal["original", "dataset"] = Field("original", description="size at which masks are compared")
    test_time: Annotated[tuple[str, ...], AfterValidator(_check_test_time)] = Field(
        (),
        description="test-time augmentation: probabilities are averaged over the film as it is and each of these on "
        "its own: horizontal_flip, vertical_flip, scale_0.75 and other scales",
    )
    batch_size: Annotated[int, Field(ge=1)] = 8
    surface_distances: bool = Field(True, description="HD95, ASSD and surface Dice, in mm where the spacing is known")
    surface_tolerance_mm: Positive = Field(
        2.0, description="distance that surface Dice forgives; in pixels where the spacing of a film is not known"
    )
    bootstrap: Annotated[int, Field(ge=1)] = Field(2000, description="resamples behind the 95 % intervals")
    overlays: Annotated[int, Field(ge=0)] = Field(6, description="pictures of the worst and of the best cases, each")
