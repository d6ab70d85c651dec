"""The metric that chooses the best epoch is known, and defined, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.config.load import load_config
from raycxr.dataset.films import SplitIndex, open_splits
from raycxr.errors import ConfigurationError
from raycxr.runs.metric import default_mode
from raycxr.runs.record import read_history
from raycxr.storage.location import Location
from raycxr.training.config_check import check_trainable_config
from raycxr.training.run import train, train_here


def check(path: Path, metric: str, empty_films: int) -> None:
    """Check a configuration on a data set of which some validation films have no heart."""
    config = load_config(path, [f"train.metric={metric}"])
    splits = open_splits(config)
    films = [dict(row) for row in splits.rows["validation"]]
    for row in films[:empty_films]:
        row["pixels"] = [row["pixels"][0], 0, row["pixels"][2]]
    rows = splits.rows | {"validation": films}
    check_trainable_config(config, SplitIndex(splits.location, splits.manifest, rows), 1)


@pytest.mark.parametrize(
    "metric",
    ["loss", "dice", "dice.heart", "recall.mean", "precision", "mean_iou", "label_accuracy.mean", "calibration_error"],
)
def test_what_every_data_set_has(phantom_config: Path, metric: str) -> None:
    check(phantom_config, metric, 0)


@pytest.mark.parametrize("metric", ["dice.liver", "mean_iou.heart", "auk", "floor", "loss.mean", "hd95"])
def test_what_validation_does_not_measure(phantom_config: Path, metric: str) -> None:
    with pytest.raises(ConfigurationError, match="is not measured") as caught:
        check(phantom_config, metric, 1)
    assert "mean_iou" in str(caught.value.remedy)
    assert "dice.lungs" in str(caught.value.remedy)


@pytest.mark.parametrize("metric", ["siim_score", "negatives_empty", "auc", "dice_positive"])
def test_what_needs_films_without_the_structure(phantom_config: Path, metric: str) -> None:
    with pytest.raises(ConfigurationError, match="films without lungs or heart or clavicles in the validation split"):
        check(phantom_config, metric, 0)
    check(phantom_config, metric, 1)
    check(phantom_config, f"{metric}.heart", 1)
    with pytest.raises(ConfigurationError, match="films without lungs in"):
        check(phantom_config, f"{metric}.lungs", 1)
    if metric in ("auc", "dice_positive"):
        with pytest.raises(ConfigurationError, match="films with and films without"):
            check(phantom_config, metric, 4)
    else:
        check(phantom_config, metric, 4)


def test_which_way_is_better() -> None:
    assert [default_mode(name) for name in ("calibration_error.heart", "image_calibration_error")] == ["min", "min"]
    assert [default_mode(name) for name in ("auc", "siim_score", "mean_iou", "recall.heart")] == ["max"] * 4


@pytest.mark.slow
def test_a_run_chooses_by_a_new_metric(phantom_config: Path, tmp_path: Path) -> None:
    overrides = ["train.metric=calibration_error", "train.name=calibrated", f"storage.uri={tmp_path}"]
    config = load_config(phantom_config, overrides)
    result = train(config, phantom_config, None, train_here, lambda line: None)
    errors = [entry["validation"]["calibration_error"]["mean"] for entry in read_history(Location(result.run))]
    assert result.best_epoch == 1 + errors.index(min(errors))
