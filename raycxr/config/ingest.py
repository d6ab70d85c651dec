"""How raw films become shards."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raycxr.config.section import Section


class IntensitySection(Section):
    """How stored pixel values become grey levels; recorded in the manifest.

    `percentile` maps the film's own percentiles `low`..`high` to 0..255, `window` the absolute stored values
    `low`..`high`, and `keep` leaves 8-bit and 16-bit films as they are; there `high` is the value of white in 16-bit
    films (4095 where 12 bits are used, 65535 where unset).
    """

    rule: Literal["percentile", "window", "keep"] = "percentile"
    low: float | None = Field(None, description="percentile (default 0.5) or stored value (required)")
    high: float | None = Field(None, description="percentile (default 99.5) or stored value (required)")

    @model_validator(mode="after")
    def _bounds(self) -> IntensitySection:
        if self.rule == "window" and (self.low is None or self.high is None):
            raise ValueError("a window needs low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self

    @property
    def title(self) -> str:
        """The rule in a few words."""
        if self.rule == "keep":
            return "keep" if self.high is None else f"keep, white at {self.high:g}"
        low, high = (0.5 if self.low is None else self.low), (99.5 if self.high is None else self.high)
        return f"{self.rule} {low:g} to {high:g}"


class IngestSection(Section):
    """Raw films in, verified shards out."""

    source: Literal["jsrt", "pairs", "siim-dicom", "siim-png", "montgomery", "shenzhen", "tb-mirror"] = Field(
        "jsrt", description="the layout on disk"
    )
    images: str = Field(description="folder of films (local or s3://)")
    masks: str | None = Field(
        None,
        description="folder of masks, or siim-dicom's table of run lengths; where unset, the layout's own folder in "
        "images (siim-png, montgomery, shenzhen, tb-mirror), else nothing is annotated",
    )
    modalities: tuple[str, ...] | None = Field(
        None,
        description="DICOM: the modalities accepted, such as [CR, DX] (an empty name: none told); where unset, any",
    )
    body_parts: tuple[str, ...] | None = Field(
        None, description="DICOM: the body parts accepted, such as [CHEST], '' for none told; where unset, any"
    )
    inverted: bool | None = Field(
        None, description="true where lungs are bright on disk; JSRT .IMG files are known to be"
    )
    mask_suffix: str = Field("", description="pairs: what a mask's name adds to its film's, such as _mask")
    structure: str = Field("lungs", description="pairs: the structure that the masks show")
    patient_pattern: str | None = Field(
        None, description="pairs: regular expression whose first group is the patient; where unset, the name"
    )
    classes: dict[str, tuple[str, ...]] | None = Field(
        None, description="class -> structures merged into it; where unset, one class per structure"
    )
    size: Annotated[int, Field(ge=16, le=4096)] = Field(256, description="pixels of the square that a film fits in")
    intensity: IntensitySection = IntensitySection()
    out: str = Field(description="where the data set is written (local or s3://)")
    codec: Literal["raw", "rowdelta+zstd"] = Field(
        "rowdelta+zstd", description="form of the films in a shard, both without loss; the node's cache holds them raw"
    )
    shard_films: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="films per shard; where unset, shards of up to 80 MB, and at least eight of 16 films or more",
    )
