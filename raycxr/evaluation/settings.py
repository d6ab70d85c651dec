"""Settings of an evaluation: the run's own, with what the command line changes."""

from __future__ import annotations

from raycxr.config.sections import EvaluateSection
from raycxr.errors import UsageError
from raycxr.runs.bundle import read_bundle
from raycxr.storage.location import Location


def evaluate_settings(bundle: Location, resolution: str | None) -> EvaluateSection:
    """Settings from a bundle.

    Raises
    ------
    UsageError
        The resolution is neither `original` nor `dataset`.
    """
    section = read_bundle(bundle).config.evaluate
    if resolution is None:
        return section
    if resolution not in ("original", "dataset"):
        raise UsageError(f"resolution {resolution!r} is unknown", "choose original or dataset")
    return section.model_copy(update={"resolution": resolution})
