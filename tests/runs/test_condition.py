"""Conditions on runs: every form, every kind of value, and every mistake told in one line."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raycxr.config.sections import Config
from raycxr.errors import ConfigurationError
from raycxr.runs.condition import check_conditions, check_key, parse_condition, setting

SETTINGS = {**Config().model_dump(mode="json"), "status": "finished"}

names = st.text("abcdefg_0", min_size=1, max_size=6)
keys = st.lists(names, min_size=1, max_size=3).map(".".join)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=5
)


def nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: nested(rest, value) if rest else value}


def holds(text: str, settings: dict[str, Any] = SETTINGS) -> bool:
    return parse_condition(text).holds(settings)


@given(keys, values)
def test_a_value_as_yaml_writes_it_is_found_again(key: str, value: Any) -> None:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    settings = nested(key, value)
    assert setting(settings, key) == value
    assert holds(f"{key}={text}", settings)
    assert holds(f" {key} == {text} ", settings)
    assert not holds(f"{key}!={text}", settings)
    assert str(parse_condition(f"{key}={text}")) == f"{key}={text}"


@given(keys, values, values)
def test_equal_and_unequal_are_opposites(key: str, value: Any, other: Any) -> None:
    text = yaml.safe_dump(other, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    settings = nested(key, value)
    assert holds(f"{key}={text}", settings) != holds(f"{key}!={text}", settings)


@given(keys, st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_numbers_are_compared_as_python_compares_them(key: str, found: float, bound: float) -> None:
    settings = nested(key, found)
    # Also as 1e-05, which YAML takes for a word.
    for text in (repr(bound), f"{bound:e}"):
        exact = float(text)
        assert holds(f"{key}<{text}", settings) == (found < exact)
        assert holds(f"{key}<={text}", settings) == (found <= exact)
        assert holds(f"{key}>{text}", settings) == (found > exact)
        assert holds(f"{key}>={text}", settings) == (found >= exact)
        assert holds(f"{key}={text}", settings) == (found == exact)


@given(keys, scalars.filter(lambda value: isinstance(value, bool) or not isinstance(value, int | float)))
def test_what_is_no_number_is_neither_less_nor_more(key: str, value: Any) -> None:
    for comparison in ("<", ">", "<=", ">="):
        assert not holds(f"{key}{comparison}0", nested(key, value))
        assert not holds(f"{key}{comparison}0", {})


@given(st.text())
def test_any_text_is_a_condition_or_one_line(text: str) -> None:
    with suppress(ConfigurationError):
        assert parse_condition(text).key
        return
    with pytest.raises(ConfigurationError) as caught:
        parse_condition(text)
    assert caught.value.remedy
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.name=unet", True),
        ("model.name!=unet", False),
        ("model.name = fpn", False),
        ("optimizer.lr<1", True),
        ("train.epochs>=40", True),
        ("train.epochs=40.0", True),
        ("train.seed=false", False),  # 0 is a number
        ("train.channels_last=1", False),
        ("train.channels_last=true", True),
        ("loss={dice: 1, bce: 1}", True),
        ("loss={bce: 1}", False),
        ("loss.bce>0", True),
        ("loss.focal=null", True),
        ("classify=null", True),
        ("classify.epochs=null", True),
        ("classify.epochs>1", False),
        ("model.decoder_channels=[256, 128, 64, 32, 16]", True),
        ("status=finished", True),
        ("status!=failed", True),
    ],
)
def test_conditions_on_a_run(text: str, expected: bool) -> None:
    condition = parse_condition(text)
    if text != "loss.focal=null":
        check_conditions([condition], [SETTINGS])
    assert condition.holds(SETTINGS) == expected


def test_words_that_yaml_takes_for_something_else_are_meant_as_they_stand() -> None:
    for name in ("007", "2026-01-01", "on", "1_000", "1e3"):
        assert holds(f"train.name={name}", {"train": {"name": name}})
        assert not holds(f"train.name!={name}", {"train": {"name": name}})


@pytest.mark.parametrize("text", ["", "model.name", "=unet", ".=1", "a.=1", "model.name!unet"])
def test_what_is_no_condition_is_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not of the form KEY=VALUE"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=[1", "'\\[1' is not valid YAML"),
        ("optimizer.lr<small", "'small' is not a number"),
        ("optimizer.lr<true", "'true' is not a number"),
        ("status=finishd", "choose from running, finished, stopped, failed, interrupted"),
    ],
)
def test_a_wrong_value_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_condition(text)


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("model.nam", "did you mean 'name'?"),
        ("optimizer.learning_rate", "known: name, lr, "),
        ("optimzer.lr", "did you mean 'optimizer.lr'?"),
        ("lr", "optimizer.lr"),
        ("modle", "did you mean 'model'?"),
        ("stauts", "did you mean 'status'?"),
        ("loss.dize", "did you mean 'dice'?"),
        ("train.epochs.more", "train"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown key '{key}'") as caught:
        check_key(key, [SETTINGS])
    assert remedy in caught.value.remedy
    assert len(caught.value.remedy) < 400


def test_keys_of_the_configuration_and_of_the_runs_are_known() -> None:
    for key in ("classify.lungs.margin", "ingest.source", "tune.searcher", "loss.bce", "status", "model"):
        check_key(key, [SETTINGS])
    with pytest.raises(ConfigurationError, match=r"loss\.focal"):
        check_key("loss.focal", [SETTINGS])
    check_key("loss.focal", [SETTINGS, {"loss": {"focal": 1.0}}])


def test_a_section_has_no_value() -> None:
    for text in ("model=unet", "loss!=dice", "loss>1"):
        with pytest.raises(ConfigurationError, match="holds keys, not a value") as caught:
            check_conditions([parse_condition(text)], [SETTINGS])
        assert "model.name" in caught.value.remedy or "loss.dice" in caught.value.remedy
    assert math.isinf(parse_condition("a<.inf").value)
