"""Decision rules: from the probabilities of one film to its masks, the same at every size.

A rule is applied in this order:

1. image gate: the mask is empty where the image head's probability lies below `image_threshold`;
2. `threshold`: the mask is what lies above it; or the triplet: the mask is what lies above `bottom`, and empty unless
   the share `area` of the pixels or more lies above `top`; or neither of them: where the class is the most probable;
3. `min_area`: components with a smaller share of the pixels are dropped;
4. `components`: of the others only so many are kept, the largest ones;
5. `fill_holes`.

Areas are shares of the pixels of the film itself: padding is to be cut off before. What components and holes are
stands in `components.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from raycxr.config.section import Fraction, Section


class DecisionRule(Section):
    """How the probabilities of one class become its mask; what is None is not done.

    Raises
    ------
    ValueError
        A number out of its range, top below bottom, part of a triplet, or a threshold and a triplet.
    """

    image_threshold: Fraction | None = None
    threshold: Fraction | None = None
    top: Fraction | None = None
    area: Fraction | None = None
    bottom: Fraction | None = None
    min_area: Fraction = 0.0
    components: Annotated[int, Field(ge=1)] | None = None
    fill_holes: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> DecisionRule:
        given = sum(value is not None for value in (self.top, self.area, self.bottom))
        if given not in (0, 3):
            raise ValueError("a triplet has top, area and bottom")
        if given and self.threshold is not None:
            raise ValueError("threshold and triplet exclude each other")
        if self.top is not None and self.bottom is not None and self.top < self.bottom:
            raise ValueError(f"top ({self.top:g}) lies below bottom ({self.bottom:g})")
        return self

    @property
    def kind(self) -> Literal["threshold", "triplet", "most probable"]:
        """What the second step is."""
        if self.top is not None:
            return "triplet"
        return "most probable" if self.threshold is None else "threshold"

    def __str__(self) -> str:
        steps = {
            "threshold": f"p > {_text(self.threshold)}",
            "triplet": f"p > {_text(self.bottom)} if {_text(self.area)} of the film has p > {_text(self.top)}",
            "most probable": "most probable class",
        }
        words = [steps[self.kind]]
        if self.image_threshold is not None:
            words.append(f"empty if the image has p < {_text(self.image_threshold)}")
        if self.min_area:
            words.append(f"components from {_text(self.min_area)} of the film on")
        if self.components is not None:
            words.append("the largest component" if self.components == 1 else f"{self.components} largest components")
        return ", ".join([*words, *(["holes filled"] if self.fill_holes else [])])


def apply_rules(
    rules: Sequence[DecisionRule],
    probabilities: NDArray[np.float32],
    image_probabilities: NDArray[np.float32] | None = None,
) -> NDArray[np.bool_]:
    """Return the masks (C, H, W) of one film.

    Parameters
    ----------
    rules : sequence of DecisionRule
        One per class; all of them take the most probable class, or none.
    probabilities : float32 (C, H, W)
        Of each class, 0 to 1, without padding. Where the most probable class counts (C + 1, H, W), the background
        first; of equal ones the first is taken. A probability equal to a threshold does not lie above it.
    image_probabilities : float32 (C,) or None
        Whether the image shows each class at all.

    Raises
    ------
    ValueError
        The shapes or kinds of rules do not fit, or a rule has an image gate and there are no image probabilities.
    """
    exclusive = {rule.kind == "most probable" for rule in rules}
    if len(exclusive) != 1:
        raise ValueError("the most probable class counts for all classes or for none")
    background = int(exclusive.pop())
    if probabilities.ndim != 3 or len(probabilities) != len(rules) + background or probabilities.size == 0:
        raise ValueError(f"{len(rules)} rules for probabilities of shape {probabilities.shape}")
    if image_probabilities is not None and image_probabilities.shape != (len(rules),):
        raise ValueError(f"{len(rules)} rules for image probabilities of shape {image_probabilities.shape}")
    labels = probabilities.argmax(axis=0) if background else None
    masks = np.zeros((len(rules), *probabilities.shape[1:]), bool)
    for number, rule in enumerate(rules):
        if _is_gated(rule, None if image_probabilities is None else image_probabilities[number]):
            continue
        mask = _decide(rule, probabilities[number]) if labels is None else labels == number + 1
        masks[number] = _tidy(rule, mask)
        if labels is not None:
            # Classes stay apart: a hole is filled where it is background, and by the first class around it.
            masks[number] &= ((labels == 0) | (labels == number + 1)) & ~masks[:number].any(axis=0)
    return masks


def _is_gated(rule: DecisionRule, image_probability: np.float32 | None) -> bool:
    if rule.image_threshold is None:
        return False
    if image_probability is None:
        raise ValueError("a rule with an image_threshold needs the probabilities of an image head")
    return bool(image_probability < np.float32(rule.image_threshold))


def _decide(rule: DecisionRule, probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    if rule.threshold is not None:
        return probabilities > np.float32(rule.threshold)
    assert rule.top is not None
    assert rule.area is not None
    assert rule.bottom is not None
    if np.count_nonzero(probabilities > np.float32(rule.top)) / probabilities.size < rule.area:
        return np.zeros(probabilities.shape, bool)
    return probabilities > np.float32(rule.bottom)


def _tidy(rule: DecisionRule, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    some = rule.min_area > 0 or rule.components is not None
    if not (some or rule.fill_holes) or not mask.any():
        return mask
    # Imported where it is needed: who lists or pulls bundles reads rules, and would wait half a second for scipy.
    from raycxr.postprocess.components import choose_components, fill_holes

    if some:
        mask = choose_components(mask, rule.min_area, rule.components)
    return fill_holes(mask) if rule.fill_holes else mask


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
