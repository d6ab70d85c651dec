"""Whether models are shown films whose grey levels were made by another rule than those they were trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from raycxr.config.ingest import IntensitySection
from raycxr.dataset.films import SplitIndex
from raycxr.runs.bundle import Bundle


def tell_other_grey_levels(bundles: Iterable[Bundle], splits: SplitIndex, tell: Callable[[str], None]) -> None:
    """Say in one line that the first bundle with another rule than the data set's has one.

    That is no error: films of another source may need another rule to look alike.
    """
    of_dataset = splits.manifest.intensity.title
    for bundle in bundles:
        of_bundle = IntensitySection.model_validate(bundle.intensity).title
        if of_bundle != of_dataset:
            tell(
                f"grey levels differ: {splits.location} was ingested with {of_dataset}, {bundle.location} was trained "
                f"on {of_bundle}"
            )
            return
