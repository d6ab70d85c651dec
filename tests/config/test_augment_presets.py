"""Augmentation presets: one for every name, and what is given beside one goes over it."""

from __future__ import annotations

from typing import get_args

import pytest
import yaml

from raycxr.config.augment import AugmentSection
from raycxr.config.augment_presets import PRESETS
from raycxr.config.load import check_config, to_yaml
from raycxr.errors import ConfigurationError


def test_every_preset_that_can_be_named_is_there() -> None:
    assert set(get_args(AugmentSection.model_fields["preset"].annotation)) == set(PRESETS)
    for name in PRESETS:
        section = check_config({"augment": {"preset": name}}, "test").augment
        assert section.preset == name
        assert all(getattr(section, key) == value for key, value in PRESETS[name].items())


def test_what_no_preset_is_named_for_is_the_standard() -> None:
    assert AugmentSection() == AugmentSection(preset="standard")
    assert (AugmentSection().rotate_degrees, AugmentSection().gamma) == (10, 0.2)


def test_keys_beside_a_preset_go_over_it() -> None:
    section = check_config({"augment": {"preset": "siim", "rotate_degrees": 15, "elastic": 0}}, "test").augment
    assert (section.rotate_degrees, section.elastic, section.grid_distortion) == (15, 0, 0.3)


def test_nothing_is_on_in_none() -> None:
    section = AugmentSection(preset="none")
    strengths = {key for values in PRESETS.values() for key in values if not key.endswith(("probability", "one_of"))}
    assert {"rotate_degrees", "blur", "horizontal_flip", "optical_distortion"} <= strengths
    assert not any(getattr(section, name) for name in strengths)


@pytest.mark.parametrize("name", PRESETS)
def test_a_resolved_configuration_reads_back_the_same(name: str) -> None:
    config = check_config({"augment": {"preset": name, "shift": 0.01}}, "test")
    assert check_config(yaml.safe_load(to_yaml(config)), "test") == config


def test_unknown_presets_and_too_many_distortions() -> None:
    with pytest.raises(ConfigurationError, match=r"augment\.preset = 'sim' is unknown") as caught:
        check_config({"augment": {"preset": "sim"}}, "test")
    assert "'siim'" in caught.value.remedy
    with pytest.raises(ConfigurationError, match=r"add up to 1\.1"):
        check_config({"augment": {"preset": "siim", "elastic_probability": 0.9}}, "test")
