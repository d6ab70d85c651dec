"""Candidates of a search space have the values and keys that it says, and make the configuration that they name."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_spaces import FINITE, listed, spaces

from raycxr.config.augment import AugmentSection
from raycxr.config.sections import Config
from raycxr.config.tune import ParameterSection, TuneSection
from raycxr.errors import ConfigurationError
from raycxr.tuning.space import Space, build_space, random_draw, with_parameters, within

LR = {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}


def holds(space: Space, key: str, chosen: dict[str, Any]) -> bool:
    """Whether the condition of a key is fulfilled, as its author would say it."""
    for name, values in space.parameters[key].when.items():
        if name not in chosen or chosen[name] not in (values if isinstance(values, list) else [values]):
            return False
    return True


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


def build(space: dict[str, Any], base: Config | None = None, **tune: Any) -> Space:
    return build_space(TuneSection.model_validate({"space": space, **tune}), base or Config())


@settings(deadline=None)
@given(spaces(), st.integers(0, 10**6), st.data())
def test_every_draw_is_of_its_space(space: Space, seed: int, data: st.DataObject) -> None:
    draw = random_draw(np.random.default_rng(seed))
    key = data.draw(st.sampled_from(sorted(space.parameters)))
    parameter = space.parameters[key]
    given = {key: data.draw(st.sampled_from(listed(parameter)))} if parameter.kind in FINITE else {}
    chosen = space.draw(draw, given)
    assert list(chosen) == [key for key in space.parameters if holds(space, key, chosen)]
    assert all(within(space.parameters[key], value) for key, value in chosen.items())
    assert all(chosen[key] == value for key, value in given.items() if key in chosen)
    # What is written to the record of a run is read back as it was.
    assert json.loads(json.dumps(chosen)) == chosen


def by_brute_force(space: Space, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every mapping of some keys to values of theirs, of which those are kept that fulfil all conditions among them."""
    absent = object()
    keys = [key for key, parameter in space.parameters.items() if parameter.kind in kinds]
    found = []
    for values in itertools.product(*([absent, *listed(space.parameters[key])] for key in keys)):
        chosen = {key: value for key, value in zip(keys, values, strict=True) if value is not absent}
        among = {
            key: all(
                name in chosen and chosen[name] in (wanted if isinstance(wanted, list) else [wanted])
                for name, wanted in space.parameters[key].when.items()
                if name in keys
            )
            for key in keys
        }
        if all((key in chosen) == among[key] for key in keys):
            found.append(chosen)
    return found


@settings(deadline=None)
@given(spaces(), st.sampled_from([("grid",), ("choice", "grid"), FINITE]))
def test_combinations_are_those_found_by_brute_force(space: Space, kinds: tuple[str, ...]) -> None:
    combinations = list(space.combinations(kinds))
    texts = [json.dumps(chosen, sort_keys=True) for chosen in combinations]
    assert sorted(texts) == sorted(json.dumps(chosen, sort_keys=True) for chosen in by_brute_force(space, kinds))
    assert len(set(texts)) == len(texts)


@settings(deadline=None)
@given(spaces(FINITE))
def test_every_combination_of_all_kinds_can_be_a_candidate(space: Space) -> None:
    for chosen in space.combinations(FINITE):
        assert space.draw(random_draw(np.random.default_rng(0)), chosen) == chosen


def test_a_key_that_depends_on_one_that_is_left_out_is_left_out_too() -> None:
    space = build(
        {
            "model.image_head_dropout": {"choice": [0.1, 0.2], "when": {"model.image_head": True}},
            "model.image_head": {"choice": [True, False], "when": {"model.name": "unet"}},
            "model.name": ["unet", "fpn"],
        }
    )
    assert list(space.combinations(FINITE)) == [
        {"model.name": "unet", "model.image_head": True, "model.image_head_dropout": 0.1},
        {"model.name": "unet", "model.image_head": True, "model.image_head_dropout": 0.2},
        {"model.name": "unet", "model.image_head": False},
        {"model.name": "fpn"},
    ]


def test_a_mapping_replaces_the_loss_and_sets_keys_of_a_section() -> None:
    base = config(loss={"bce": 1, "dice": 1}, optimizer={"name": "sgd", "momentum": 0.5, "lr": 0.1})
    assert with_parameters(base, {"loss": {"dice": 2}}).loss == {"dice": 2}
    assert with_parameters(base, {"loss.dice": 3}).loss == {"bce": 1, "dice": 3}
    optimizer = with_parameters(base, {"optimizer": {"lr": 0.2}}).optimizer
    assert (optimizer.name, optimizer.momentum, optimizer.lr) == ("sgd", 0.5, 0.2)
    settings = with_parameters(base, {"loss": {"focal": 1}, "loss_settings": {"focal": {"gamma": 1}}}).loss_settings
    assert (settings.focal.gamma, settings.focal.alpha) == (1, base.loss_settings.focal.alpha)
    assert with_parameters(base, {}) == base


def test_a_preset_starts_augmentation_anew_whatever_stands_before_it() -> None:
    base = config(augment={"preset": "strong", "rotate_degrees": 7})
    fresh = AugmentSection.model_validate({"preset": "none", "noise": 0.25})
    for parameters in (
        {"augment.preset": "none", "augment.noise": 0.25},
        {"augment.noise": 0.25, "augment.preset": "none"},
        {"augment": {"noise": 0.25, "preset": "none"}},
    ):
        assert with_parameters(base, parameters).augment == fresh
    assert with_parameters(base, {"augment.noise": 0.25}).augment.rotate_degrees == 7


def test_options_of_another_network_fall_back() -> None:
    base = config(model={"name": "inverted_net", "channels": [8, 4], "dropout": 0.1, "encoder": "resnet34"})
    other = with_parameters(base, {"model.name": "unet"}).model
    assert (other.name, other.channels, other.dropout, other.encoder) == ("unet", None, None, "resnet34")
    # The FCN has a dropout too; an option that is chosen here stays, and is refused later where it says nothing.
    assert with_parameters(base, {"model.name": "fcn"}).model.dropout == 0.1
    assert with_parameters(base, {"model": {"name": "unet", "dropout": 0.3}}).model.dropout == 0.3
    assert with_parameters(base, {"optimizer.lr": 0.5}).model == base.model


@pytest.mark.parametrize(
    ("space", "parts"),
    [
        ({}, ["tune.space is empty"]),
        ({"optimiser.lr": [0.1]}, ["'optimiser'", "did you mean 'optimizer'?"]),
        ({"optimizer.learning_rate": [0.1]}, ["'optimizer.learning_rate'", "lr"]),
        ({"optimizer.lr.start": [0.1]}, ["optimizer.lr.start", "'lr' holds a value"]),
        ({"model.name": ["unet", "uent"]}, ["model.name = 'uent'", "'unet'", "'fpn'"]),
        ({"optimizer.lr": {"uniform": [-1, 1]}}, ["optimizer.lr = -1"]),
        ({"loss.dice": [1, -1]}, ["loss.dice = -1"]),
        ({"train.batch_size": {"randint": [0, 8]}}, ["train.batch_size = 0"]),
        ({"model": [{"nam": "unet"}]}, ["model.nam", "'name'"]),
        ({"train.start_from": [None, "runs/a"]}, ["train.start_from = 'runs/a' is a relative path"]),
        ({"model": [{"encoder_weights": "a/b.pt"}]}, ["model.encoder_weights = 'a/b.pt' is a relative path"]),
        ({"dataset.uri": ["a", "b"]}, ["dataset.uri cannot be varied"]),
        ({"train": [{"epochs": 3, "name": "x"}]}, ["train.name cannot be varied"]),
        ({"resources": [{"workers": 2}]}, ["resources.workers cannot be varied"]),
        ({"tune.seeds": [1, 2]}, ["tune.seeds cannot be varied"]),
        (
            LR | {"model.encoder": {"choice": ["resnet18"], "when": {"model.name": "unet"}}},
            ["model.name", "not varied"],
        ),
        (
            {
                "model.name": ["unet", "fpn"],
                "model.encoder": {"choice": ["resnet18"], "when": {"model.name": ["unet", "fnp"]}},
            },
            ["model.encoder depends on model.name = 'fnp'", "not among its values"],
        ),
        (
            {
                "optimizer.lr": {"choice": [0.1], "when": {"optimizer.momentum": 0.5}},
                "optimizer.momentum": {"choice": [0.5], "when": {"optimizer.lr": 0.1}},
            },
            ["depend on each other"],
        ),
    ],
)
def test_mistakes_in_a_space_are_told_in_one_line(space: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(space)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("tune", "part"),
    [
        ({"searcher": "grid"}, "optimizer.lr is a range, and a grid has no end there"),
        ({"points": [{"optimizer.momentum": 0.5}]}, "optimizer.momentum is not in tune.space"),
        ({"points": [{"optimizer.lr": 0.5}]}, "optimizer.lr = 0.5 is not among its values"),
        ({"points": [{"optimizer.lr": "fast"}]}, "optimizer.lr = 'fast' is not among its values"),
    ],
)
def test_what_does_not_fit_the_space_is_refused(tune: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(LR, **tune)
    assert part in str(caught.value)


def test_seeds_are_set_in_one_place() -> None:
    for space in ({"train.seed": [1, 2]}, {"train": [{"seed": 1}, {"seed": 2}]}):
        build(space)
        with pytest.raises(ConfigurationError, match=r"tune.seeds and tune.space both set train.seed"):
            build(space, seeds=2)


def test_a_value_is_checked_where_it_is_used() -> None:
    """Averaging the last five epochs is right only beside the ten that its condition asks for."""
    base = config(train={"epochs": 2})
    space = {"train.epochs": [2, 10], "train.swa_epochs": {"choice": [5], "when": {"train.epochs": 10}}}
    build(space, base)
    with pytest.raises(ConfigurationError, match="swa_epochs = 5 are more than epochs = 2"):
        build(space | {"train.swa_epochs": [5]}, base)


def test_within_its_values() -> None:
    whole = ParameterSection(randint=(2, 4))
    assert [value for value in (1, 2, 4, 5, 2.5, "3", None) if within(whole, value)] == [2, 4]
    loss = ParameterSection(choice=[{"dice": 1}, None])
    assert [within(loss, value) for value in ({"dice": 1}, {"dice": 2}, None, "dice")] == [True, False, True, False]
