"""The section `tune`: spaces in every spelling, and mistakes told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raycxr.config.load import load_config, to_yaml
from raycxr.config.tune import TuneSection
from raycxr.errors import ConfigurationError


def load(tmp_path: Path, text: str, *overrides: str) -> TuneSection:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load_config(path, overrides).tune


def spelled(section: TuneSection) -> dict[str, Any]:
    return {key: parameter.model_dump(exclude_unset=True) for key, parameter in section.space.items()}


def test_a_space_may_be_nested_and_a_list_is_a_choice(tmp_path: Path) -> None:
    nested = """
tune:
  space:
    model:
      name: [unet, fpn]
      encoder: {choice: [resnet18], when: {model.name: unet}}
    optimizer: {lr: {loguniform: [1e-4, 1e-2]}}
    loss: [{bce: 1, dice: 1}, {dice: 1}]
    loss_settings: {focal: {gamma: {uniform: [1, 3]}}}
    train.batch_size: {randint: [2, 8]}
    train.seed: {grid: [0, 1]}
"""
    assert spelled(load(tmp_path, nested)) == {
        "model.name": {"choice": ["unet", "fpn"]},
        "model.encoder": {"choice": ["resnet18"], "when": {"model.name": "unet"}},
        "optimizer.lr": {"loguniform": (1e-4, 1e-2)},
        "loss": {"choice": [{"bce": 1, "dice": 1}, {"dice": 1}]},
        "loss_settings.focal.gamma": {"uniform": (1, 3)},
        "train.batch_size": {"randint": (2, 8)},
        "train.seed": {"grid": [0, 1]},
    }


def test_numbers_that_yaml_takes_for_texts(tmp_path: Path) -> None:
    """YAML reads 1e-4, without a point, as a text; where it is compared it must be the number."""
    section = load(
        tmp_path,
        """
tune:
  space:
    optimizer.lr: [1e-4, 1e-3, 0.01]
    optimizer.momentum: {choice: [0.5, 0.9], when: {optimizer.lr: [1e-4, 1e-3]}}
    optimizer.clip_norm: {choice: [1, null], when: {optimizer.lr: 1e-4}}
    model.encoder: [resnet18]
  points: [{optimizer.lr: 1e-3, model.encoder: resnet18}]
""",
    )
    assert section.space["optimizer.lr"].values == [0.0001, 0.001, 0.01]
    assert section.space["optimizer.momentum"].when == {"optimizer.lr": [0.0001, 0.001]}
    assert section.space["optimizer.clip_norm"].when == {"optimizer.lr": 0.0001}
    assert section.points == [{"optimizer.lr": 0.001, "model.encoder": "resnet18"}]


def test_an_override_replaces_the_space_whole(tmp_path: Path) -> None:
    text = "tune: {space: {optimizer.lr: [0.1], model.name: [unet]}, trials: 7}"
    section = load(tmp_path, text, "tune.space={train.seed: [1, 2]}", "tune.searcher=grid")
    assert (list(section.space), section.trials, section.searcher) == (["train.seed"], 7, "grid")


def test_it_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "tune: {space: {optimizer: {lr: {loguniform: [1e-4, 1e-2]}}, loss: [{dice: 1}], "
        "model.encoder: {choice: [resnet18, null], when: {loss: {dice: 1}}}}, folds: 5, searcher: tpe}"
    )
    config = load_config(path)
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(config))
    assert load_config(again) == config


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{space: [unet]}", "tune.space = ['unet']"),
        ("{space: {optimizer.lr: 0.1}}", "tune.space.optimizer.lr = 0.1"),
        ("{space: {optimizer.lr: {}}}", "give one of choice, grid, uniform, loguniform, randint, not none"),
        ("{space: {optimizer.lr: {choice: [1], grid: [1]}}}", "not choice and grid"),
        ("{space: {optimizer.lr: {when: {model.name: unet}}}}", "not none"),
        ("{space: {optimizer.lr: []}}", "at least 1 item"),
        ("{space: {optimizer.lr: [1e-3, 0.001]}}", "0.001 is named twice"),
        ("{space: {loss: [{dice: 1}, {bce: 1}, {dice: 1}]}}", "{'dice': 1} is named twice"),
        ("{space: {optimizer.lr: {uniform: [1, 1]}}}", "uniform: 1 and 1 are not two bounds, the lower one first"),
        ("{space: {optimizer.lr: {uniform: [2, 1]}}}", "uniform: 2 and 1 are not two bounds"),
        ("{space: {optimizer.lr: {uniform: [0, .inf]}}}", "uniform: 0 and inf are not two bounds"),
        ("{space: {optimizer.lr: {uniform: [.nan, 1]}}}", "uniform: nan and 1 are not two bounds"),
        ("{space: {optimizer.lr: {loguniform: [0, 1]}}}", "tune.space.optimizer.lr.loguniform"),
        ("{space: {train.batch_size: {randint: [1.5, 3]}}}", "tune.space.train.batch_size.randint"),
        ("{space: {optimizer.lr: {uniform: [1, 2, 3]}}}", "tune.space.optimizer.lr.uniform"),
        ("{space: {optimizer.lr: {choise: [1]}}}", "unknown key 'tune.space.optimizer.lr.choise'"),
        ("{space: {optimizer.lr: {log_uniform: [1, 2]}}}", "did you mean 'loguniform'?"),
        ("{space: {1: {2: [3]}, optimizer.lr: []}}", "at least 1 item"),
        ("{space: {model.encoder: {choice: [resnet18], when: {model.name: []}}}}", "no value of model.name is named"),
        ("{seeds: 2, folds: 3}", "seeds and folds both divide a candidate into trials"),
        ("{scheduler: pbt, seeds: 2}", "scheduler pbt"),
        ("{scheduler: pbt, folds: 2}", "scheduler pbt"),
        ("{seed: -1}", "tune.seed = -1"),
        ("{trials: 0}", "tune.trials = 0"),
        ("{hours: 0}", "tune.hours = 0"),
        ("{reduction: 1}", "tune.reduction = 1"),
        ("{folds: 1}", "tune.folds = 1"),
        ("{searcher: bayes}", "tune.searcher = 'bayes' is unknown"),
        ("{scheduler: hyperband}", "choose one of 'none', 'asha', 'median' or 'pbt'"),
        ("{keep: none}", "tune.keep = 'none' is unknown"),
        ("{trails: 3}", "did you mean 'trials'?"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, f"tune: {text}")
    assert part in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)
