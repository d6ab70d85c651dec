"""The sources by the names that configurations use."""

from __future__ import annotations

from collections.abc import Callable

from raycxr.config.ingest import IngestSection
from raycxr.errors import ConfigurationError
from raycxr.sources.film import Source
from raycxr.sources.jsrt import JsrtSource
from raycxr.sources.montgomery import MontgomerySource
from raycxr.sources.pairs import PairsSource
from raycxr.sources.patient_key import load_patient_key
from raycxr.sources.shenzhen import ShenzhenSource
from raycxr.sources.siim_dicom import SiimDicomSource
from raycxr.sources.siim_png import SiimPngSource
from raycxr.sources.tb_mirror import TbMirrorSource


def build_source(section: IngestSection) -> Source:
    """Return the source that `ingest.source` names, with the settings that it knows.

    Raises
    ------
    ConfigurationError
        If a key is set that means nothing to this source.
    """
    known = OWN_KEYS[section.source]
    for key in sorted(set().union(*OWN_KEYS.values()) - known):
        if getattr(section, key) != IngestSection.model_fields[key].default:
            raise ConfigurationError(
                f"ingest.{key} means nothing to the source {section.source}",
                f"leave it out; beside images and masks this source knows {', '.join(sorted(known))}",
            )
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


def _siim_dicom(section: IngestSection) -> Source:
    return SiimDicomSource(
        section.images, section.masks, section.modalities, section.body_parts, key=load_patient_key()
    )


def _siim_png(section: IngestSection) -> Source:
    return SiimPngSource(section.images, section.masks, bool(section.inverted))


def _montgomery(section: IngestSection) -> Source:
    return MontgomerySource(section.images, section.masks, bool(section.inverted))


def _shenzhen(section: IngestSection) -> Source:
    return ShenzhenSource(section.images, section.masks, bool(section.inverted))


def _tb_mirror(section: IngestSection) -> Source:
    return TbMirrorSource(section.images, section.masks, bool(section.inverted))


SOURCES: dict[str, Callable[[IngestSection], Source]] = {
    "jsrt": _jsrt,
    "pairs": _pairs,
    "siim-dicom": _siim_dicom,
    "siim-png": _siim_png,
    "montgomery": _montgomery,
    "shenzhen": _shenzhen,
    "tb-mirror": _tb_mirror,
}
# Keys of `ingest` that only some sources understand. DICOM files tell themselves whether they are inverted.
OWN_KEYS: dict[str, set[str]] = {
    "jsrt": {"inverted"},
    "pairs": {"inverted", "mask_suffix", "structure", "patient_pattern"},
    "siim-dicom": {"modalities", "body_parts"},
    "siim-png": {"inverted"},
    "montgomery": {"inverted"},
    "shenzhen": {"inverted"},
    "tb-mirror": {"inverted"},
}
