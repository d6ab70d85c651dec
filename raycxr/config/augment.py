"""Random changes of training films."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raycxr.config.augment_presets import PRESETS
from raycxr.config.section import Fraction, NonNegative, Section


class AugmentSection(Section):
    """Random changes of training films; a strength of 0 switches one off.

    Keys given beside `preset`, or by later overrides, go over it; inherited keys do not. At most one of the three
    distortions changes a film, each with its own probability.
    """

    preset: Literal["none", "standard", "keras_dd2424", "contrast_noise", "siim", "strong"] = Field(
        "standard", description="named settings, see config/augment_presets.py; naming one starts the section anew"
    )
    where: Literal["loader", "device"] = Field(
        "loader",
        description="film by film where films are read, or batch by batch where the network computes, which frees the "
        "CPUs beside a GPU; the changes are of the same kinds and strengths, not the same ones",
    )
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="zoom drawn from 1 - scale to 1 + scale")
    shift: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of the width and of the height")
    shear_degrees: Annotated[float, Field(ge=0, le=45)] = 0.0
    affine_probability: Fraction = 1.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="exponent drawn from 1 - gamma to 1 + gamma")
    exposure_one_of: bool = Field(False, description="brightness, contrast or gamma, in place of all of them")
    exposure_probability: Fraction = Field(
        0.8, description="of brightness and contrast, and likewise of gamma; with exposure_one_of, of any"
    )
    elastic: NonNegative = Field(0.0, description="deviation of an elastic distortion, in per cent of the width")
    elastic_probability: Fraction = 0.5
    grid_distortion: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="stretching of the cells of a 5 x 5 grid, from 1 - x to 1 + x"
    )
    grid_probability: Fraction = 0.25
    optical_distortion: NonNegative = Field(
        0.0, description="barrel or pincushion: largest coefficient of a lens whose focal length is the width"
    )
    optical_probability: Fraction = 0.25
    noise: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="largest noise deviation, share of full scale")
    noise_probability: Fraction = 0.5
    blur: NonNegative = Field(0.0, description="largest deviation of a Gaussian blur, in per cent of the width")
    blur_probability: Fraction = 0.5
    horizontal_flip: Fraction = Field(0.0, description="probability; mind that the heart then lies on the right")
    vertical_flip: Fraction = Field(0.0, description="probability")

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**PRESETS.get(str(given.get("preset", "standard")), {}), **given}

    @model_validator(mode="after")
    def _one_distortion(self) -> AugmentSection:
        total = sum(
            probability
            for strength, probability in (
                (self.elastic, self.elastic_probability),
                (self.grid_distortion, self.grid_probability),
                (self.optical_distortion, self.optical_probability),
            )
            if strength
        )
        if total > 1 + 1e-9:
            raise ValueError(f"the probabilities of the distortions add up to {total:g}, above 1")
        return self
