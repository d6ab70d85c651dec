"""The networks that a configuration can name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from torch import nn

from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models import classic_unet, res_unet
from raycxr.models.classic_unet import ClassicUnet
from raycxr.models.fcn import build_fcn, fcn_form
from raycxr.models.frozen import freeze
from raycxr.models.group_norm import use_group_norm
from raycxr.models.image_head import add_image_head
from raycxr.models.inverted_net import FORMS, build_inverted_net
from raycxr.models.res_unet import ResUnet
from raycxr.models.smp_network import ARCHITECTURES, build_smp_network


def build_model(
    settings: ModelSection, in_channels: int, out_channels: int, structures: int | None = None
) -> nn.Module:
    """Return the network of a configuration: logits (B, out_channels, H, W) of films (B, in_channels, H, W).

    Options that the network does not use are passed over, so that a bundle trained with one is still read;
    `check_model` refuses them before a run starts.

    `structures` is the number of image logits, of a network with an image-level head; where None, `out_channels`.
    Such a network returns the pair that `image_head.split_output` takes apart.

    Raises
    ------
    ConfigurationError
        Values that do not make a network, or encoder weights that cannot be had.
    """
    model = MODELS[settings.name](settings, in_channels, out_channels)
    used = used_options(settings)
    if "norm" in used and settings.norm == "group":
        use_group_norm(model)
    if "image_head" in used and settings.image_head:
        add_image_head(model, structures or out_channels, settings.image_head_dropout)
    if "freeze_encoder" in used and settings.freezes_encoder:
        freeze(model.get_submodule("encoder"))
    return model


def check_model(settings: ModelSection) -> None:
    """Refuse options that would change nothing, before anything is built.

    Raises
    ------
    ConfigurationError
        Another value than the default of an option that the network does not use, an encoder for which the FCN has
        no head, or group norm where there is nothing to replace or nothing that could adapt to it.
    """
    for option, networks in USED_BY.items():
        value, default = getattr(settings, option), ModelSection.model_fields[option].default
        if settings.name not in networks and option not in OFTEN_INHERITED and value != default:
            raise ConfigurationError(
                f"model.{option} = {json.dumps(value)}: {settings.name} does not use it",
                f"set model.{option}={json.dumps(default)}, or choose among {', '.join(networks)}",
            )
    if settings.name == "fcn":
        fcn_form(settings.encoder)
    if settings.norm == "group":
        _check_group_norm(settings)


def _check_group_norm(settings: ModelSection) -> None:
    if (settings.name, settings.form) == ("inverted_net", "paper") or (settings.name, settings.encoder) == (
        "fcn",
        "vgg19",
    ):
        raise ConfigurationError(
            f'model.norm = "group": this form of {settings.name} has no batch norm to replace',
            'set model.norm="batch"',
        )
    if settings.freezes_encoder and settings.encoder_weights is not None:
        raise ConfigurationError(
            'model.norm = "group" changes the features of an encoder with weights, and a frozen one cannot adapt',
            'set model.norm="batch" or model.freeze_encoder=false',
        )


def used_options(settings: ModelSection) -> dict[str, Any]:
    """Return the options that say something about the network, by name, and its own name first."""
    return {
        option: value
        for option, value in settings.model_dump().items()
        if option not in USED_BY or settings.name in USED_BY[option]
    }


def size_divisor(settings: ModelSection) -> int:
    """Return the number of which the height and width of a film must be multiples.

    Some networks also run at other sizes, but shift their maps against each other there.
    """
    return SIZE_DIVISORS[settings.name](settings)


def smallest_size(settings: ModelSection) -> int:
    """Return the least height and width of a film."""
    if settings.name == "fcn":
        return fcn_form(settings.encoder).smallest
    if settings.name in ARCHITECTURES:
        return max(ARCHITECTURES[settings.name].smallest, size_divisor(settings))
    return size_divisor(settings)


def fewest_films(settings: ModelSection) -> int:
    """Return how many films a forward pass of training needs at least."""
    if settings.norm == "group" or settings.name not in ARCHITECTURES:
        return 1
    return ARCHITECTURES[settings.name].fewest_films


def _classic_unet(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return ClassicUnet(in_channels, out_channels, settings.base_channels or classic_unet.BASE_CHANNELS)


def _res_unet(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return ResUnet(in_channels, out_channels, settings.base_channels or res_unet.BASE_CHANNELS)


def _inverted_net(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return build_inverted_net(settings.form, settings.channels, settings.dropout, in_channels, out_channels)


def _fcn(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return build_fcn(settings.encoder, settings.encoder_weights, in_channels, out_channels, settings.dropout)


def _smp_network(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return build_smp_network(
        settings.name,
        settings.encoder,
        settings.encoder_weights,
        in_channels,
        out_channels,
        settings.decoder_channels,
    )


def _classic_unet_divisor(settings: ModelSection) -> int:
    return 1 << classic_unet.HALVINGS


def _res_unet_divisor(settings: ModelSection) -> int:
    return 1 << res_unet.HALVINGS


def _inverted_net_divisor(settings: ModelSection) -> int:
    channels = settings.channels or FORMS[settings.form].channels
    return 1 << (len(channels) - 1)


def _fcn_divisor(settings: ModelSection) -> int:
    return fcn_form(settings.encoder).divisor


def _smp_network_divisor(settings: ModelSection) -> int:
    return ARCHITECTURES[settings.name].divisor or 1 << len(settings.decoder_channels)


MODELS: dict[str, Callable[[ModelSection, int, int], nn.Module]] = {
    "classic_unet": _classic_unet,
    "res_unet": _res_unet,
    "inverted_net": _inverted_net,
    "fcn": _fcn,
    **dict.fromkeys(ARCHITECTURES, _smp_network),
}
SIZE_DIVISORS: dict[str, Callable[[ModelSection], int]] = {
    "classic_unet": _classic_unet_divisor,
    "res_unet": _res_unet_divisor,
    "inverted_net": _inverted_net_divisor,
    "fcn": _fcn_divisor,
    **dict.fromkeys(ARCHITECTURES, _smp_network_divisor),
}
_ENCODER_NETWORKS = (*ARCHITECTURES, "fcn")
# The networks that use an option. The name is there for all.
USED_BY: dict[str, tuple[str, ...]] = {
    "encoder": _ENCODER_NETWORKS,
    "encoder_weights": _ENCODER_NETWORKS,
    "freeze_encoder": _ENCODER_NETWORKS,
    "norm": (*_ENCODER_NETWORKS, "res_unet", "inverted_net"),
    "image_head": tuple(ARCHITECTURES),
    "image_head_dropout": tuple(ARCHITECTURES),
    "decoder_channels": tuple(name for name, network in ARCHITECTURES.items() if network.divisor is None),
    "base_channels": ("classic_unet", "res_unet"),
    "form": ("inverted_net",),
    "channels": ("inverted_net",),
    "dropout": ("inverted_net", "fcn"),
}
# What a file inherits from that of another network, and what stays while `model.name` is varied: never refused.
OFTEN_INHERITED = {"encoder", "decoder_channels"}
