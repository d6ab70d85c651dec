"""Options that a network does not use: refused before a run starts, passed over where a bundle is read."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models.choices import MODELS, OFTEN_INHERITED, USED_BY, build_model, check_model, used_options

# Another value than the default, of every option.
OTHER: dict[str, Any] = {
    "encoder": "resnet50",
    "encoder_weights": "imagenet",
    "freeze_encoder": True,
    "norm": "group",
    "image_head": True,
    "image_head_dropout": 0.5,
    "decoder_channels": [64, 32, 16],
    "base_channels": 64,
    "form": "dd2424",
    "channels": [8, 4],
    "dropout": 0.5,
}


def section(name: str, **options: Any) -> ModelSection:
    # The FCN has no head for the encoder that is the others' default.
    return ModelSection.model_validate({"name": name} | ({"encoder": "vgg19"} if name == "fcn" else {}) | options)


def test_the_table_names_every_option_and_known_networks() -> None:
    assert {*USED_BY, "name"} == set(ModelSection.model_fields)
    assert set(MODELS) == set(get_args(ModelSection.model_fields["name"].annotation))
    assert all(set(networks) < set(MODELS) for networks in USED_BY.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("option", OTHER)
def test_an_option_is_used_or_refused(name: str, option: str) -> None:
    # Of these two, only the forms that have batch norm can replace it.
    with_norm = {"fcn": {"encoder": "resnet50"}, "inverted_net": {"form": "dd2424"}} if option == "norm" else {}
    settings = section(name, **{option: OTHER[option], **with_norm.get(name, {})})
    assert (option in used_options(settings)) == (name in USED_BY[option])
    if name in USED_BY[option] or option in OFTEN_INHERITED:
        check_model(settings)
        return
    with pytest.raises(ConfigurationError, match=rf"^model\.{option} = \S.*: {name} does not use it") as caught:
        check_model(settings)
    assert caught.value.remedy.startswith(f"set model.{option}=")
    assert caught.value.remedy.endswith(", ".join(USED_BY[option]))


def test_the_message_is_yaml() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_model(section("unet", base_channels=64))
    assert str(caught.value) == (
        "model.base_channels = 64: unet does not use it - "
        "set model.base_channels=null, or choose among classic_unet, res_unet"
    )
    with pytest.raises(ConfigurationError, match=r"^model\.channels = \[8, 4\]: "):
        check_model(section("unet", channels=[8, 4]))


@pytest.mark.parametrize("name", ["unet", "classic_unet", "res_unet", "inverted_net"])
def test_what_is_not_used_changes_no_weight(name: str) -> None:
    """A bundle that was trained with it, which was not always refused, has the same weights as without."""
    unused = {option: value for option, value in OTHER.items() if name not in USED_BY[option]}
    shapes = [
        {key: value.shape for key, value in build_model(section(name, **options), 1, 1).state_dict().items()}
        for options in (unused, {})
    ]
    assert shapes[0] == shapes[1]
