"""The sources by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable

from raycxr.config.sections import IngestSection
from raycxr.sources.film import Source
from raycxr.sources.jsrt import JsrtSource
from raycxr.sources.pairs import PairsSource


def build_source(section: IngestSection) -> Source:
    """Return the source that `ingest.source` names, with the settings that it knows."""
    return SOURCES[section.source](section)


def _jsrt(section: IngestSection) -> Source:
    return JsrtSource(section.images, section.masks, section.inverted)


def _pairs(section: IngestSection) -> Source:
    return PairsSource(
        section.images,
        section.masks,
        section.mask_suffix,
        section.structure,
        bool(section.inverted),
        section.patient_pattern,
    )


SOURCES: dict[str, Callable[[IngestSection], Source]] = {"jsrt": _jsrt, "pairs": _pairs}
