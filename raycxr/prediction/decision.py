"""The decision rules of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence

from raycxr.postprocess.rule import DecisionRule
from raycxr.runs.bundle import Bundle

# The numbers of a rule that are probabilities or shares, and so have a mean.
_MEASURES = ("image_threshold", "threshold", "top", "area", "bottom", "min_area")


def shared_rules(bundles: Sequence[Bundle]) -> tuple[DecisionRule, ...]:
    """Rule of each class for the mean probabilities of several networks.

    Thresholds and areas are averaged, as the probabilities are: no bundle knows better ones, each was searched on the
    probabilities of its own network. Where the rules of a class are of different kinds, the first bundle's holds.
    """
    return tuple(_mean_rule(rules) for rules in zip(*(bundle.rules for bundle in bundles), strict=True))


def _mean_rule(rules: Sequence[DecisionRule]) -> DecisionRule:
    first = rules[0]
    if any(_kind(rule) != _kind(first) for rule in rules):
        return first
    values = first.model_dump()
    for name in _MEASURES:
        if values[name] is not None and any(getattr(rule, name) != values[name] for rule in rules):
            values[name] = sum(getattr(rule, name) for rule in rules) / len(rules)
    return DecisionRule(**values)


def _kind(rule: DecisionRule) -> tuple[object, ...]:
    return rule.kind, rule.image_threshold is None, rule.components, rule.fill_holes
