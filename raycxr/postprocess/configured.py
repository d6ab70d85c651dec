"""The decision rules that a configuration asks for, one per class."""

from __future__ import annotations

from collections.abc import Sequence

from raycxr.config.postprocess import PostprocessSection
from raycxr.errors import ConfigurationError
from raycxr.postprocess.rule import DecisionRule

DEFAULT_THRESHOLD = 0.5


def configured_rules(
    section: PostprocessSection, classes: Sequence[str], multiclass: bool, image_head: bool
) -> list[DecisionRule]:
    """Rules in the order of the classes.

    Parameters
    ----------
    multiclass : bool
        Whether the classes exclude each other, so that the most probable one counts.
    image_head : bool
        Whether the network tells image probabilities.

    Raises
    ------
    ConfigurationError
        A class that does not exist; a threshold, a triplet or a search for a multiclass target; an image gate
        without an image head.
    """
    for name in section.classes:
        if name not in classes:
            raise ConfigurationError(
                f"postprocess.classes names {name!r}, which is no class of the data set",
                f"choose from {', '.join(classes)}",
            )
    if multiclass and section.search:
        raise ConfigurationError(
            "postprocess.search finds nothing for a multiclass target: the most probable class counts",
            "set postprocess.search=false, or dataset.target=multilabel",
        )
    return [_configured_rule(section, name, multiclass, image_head) for name in classes]


def _configured_rule(section: PostprocessSection, name: str, multiclass: bool, image_head: bool) -> DecisionRule:
    asked = section.of_class(name)
    if asked.image_threshold is not None and not image_head:
        raise ConfigurationError(
            f"postprocess.image_threshold = {asked.image_threshold:g} for {name}: the network has no image head",
            "set model.image_head=true, or postprocess.image_threshold=null",
        )
    given = "threshold" if asked.threshold is not None else "triplet" if asked.triplet is not None else None
    if multiclass and given is not None:
        raise ConfigurationError(
            f"postprocess.{given} for {name} does not apply to a multiclass target: the most probable class counts",
            f"leave postprocess.{given} out, or set dataset.target=multilabel",
        )
    decision: dict[str, float | None]
    if multiclass:
        decision = {}
    elif asked.triplet is not None:
        decision = {"top": asked.triplet.top, "area": asked.triplet.area, "bottom": asked.triplet.bottom}
    else:
        decision = {"threshold": DEFAULT_THRESHOLD if asked.threshold is None else asked.threshold}
    return DecisionRule.model_validate(
        decision
        | {
            "image_threshold": asked.image_threshold,
            "min_area": asked.min_area or 0.0,
            "components": asked.components,
            "fill_holes": bool(asked.fill_holes),
        }
    )
