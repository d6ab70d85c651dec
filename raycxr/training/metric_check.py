"""Whether the metric that chooses the best epoch will be there."""

from __future__ import annotations

from raycxr.config.sections import Config
from raycxr.dataset.films import SplitIndex
from raycxr.errors import ConfigurationError
from raycxr.metrics.counts import OVER_CLASSES, PER_CLASS
from raycxr.metrics.presence import NEED_A_POSITIVE, PRESENCE
from raycxr.prediction.target import TargetKind

# One value per class and their mean; `floor` is the same in every epoch and chooses none.
_BY_CLASS = (*PER_CLASS, "calibration_error", *(name for name in PRESENCE if name != "floor"))


def check_metric(config: Config, target: TargetKind, splits: SplitIndex) -> None:
    """Make sure that validation measures `train.metric`.

    Raises
    ------
    ConfigurationError
        There is no metric of that name, or no film of the validation split on which it would be defined.
    """
    metric = config.train.metric
    name, _, structure = metric.partition(".")
    known = name in _BY_CLASS and structure in ("", "mean", *target.classes)
    if not known and metric != "loss" and not (name in OVER_CLASSES and structure in ("", "mean")):
        raise ConfigurationError(
            f"train.metric = {metric!r} is not measured",
            f"choose loss, {', '.join(OVER_CLASSES)}, {', '.join(_BY_CLASS)}; these for all classes or for one, such as"
            f" {_BY_CLASS[0]}.{target.classes[0]}",
        )
    if name not in PRESENCE:
        return
    asked = [structure] if structure in target.classes else target.classes
    for of_class in asked:
        pixels = [row["pixels"][target.classes.index(of_class)] for row in splits.annotated("validation")]
        if 0 in pixels and (any(pixels) or name not in NEED_A_POSITIVE):
            return
    films = "films with and films without" if name in NEED_A_POSITIVE else "films without"
    raise ConfigurationError(
        f"train.metric = {metric!r} needs {films} {' or '.join(asked)} in the validation split",
        "choose another metric, such as dice, or change dataset.split",
    )
