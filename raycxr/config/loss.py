"""Parameters of the losses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from raycxr.config.section import NonNegative, Positive, Section


class WeightedBceSettings(Section):
    """Binary cross-entropy with a weight."""

    positive_weight: Positive | None = Field(
        None, description="weight of the pixels of a structure, those outside weigh 1; weighted_bce needs it"
    )


class FocalSettings(Section):
    """Focal loss; the defaults are those of Lin 2017."""

    gamma: NonNegative = Field(2.0, description="how fast pixels fade that are right; 0: not at all")
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="weight of the pixels of a structure, those outside weigh 1 - alpha; 0.5: all alike"
    )


class TverskySettings(Section):
    """Tversky loss, per image and per batch; the defaults are the best of Salehi 2017."""

    alpha: Positive = Field(0.3, description="weight of false positives")
    beta: Positive = Field(0.7, description="weight of false negatives")


class FocalTverskySettings(Section):
    """Focal Tversky loss, per image and per batch; the defaults are those of Abraham 2018."""

    alpha: Positive = Field(0.3, description="weight of false positives (beta in the paper)")
    beta: Positive = Field(0.7, description="weight of false negatives (alpha in the paper)")
    gamma: Positive = Field(4 / 3, description="the loss is the Tversky loss to the power of 1 / gamma")


class LossSettingsSection(Section):
    """Parameters of the losses that have some: each speaks for the loss of its name, where `loss` names that."""

    weighted_bce: WeightedBceSettings = WeightedBceSettings()
    focal: FocalSettings = FocalSettings()
    tversky: TverskySettings = TverskySettings()
    focal_tversky: FocalTverskySettings = FocalTverskySettings()
