"""The networks that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models import classic_unet, res_unet
from raycxr.models.classic_unet import ClassicUnet
from raycxr.models.fcn import build_fcn, fcn_form
from raycxr.models.frozen import freeze
from raycxr.models.image_head import add_image_head
from raycxr.models.inverted_net import FORMS, build_inverted_net
from raycxr.models.res_unet import ResUnet
from raycxr.models.smp_network import ARCHITECTURES, build_smp_network


def build_model(
    settings: ModelSection, in_channels: int, out_channels: int, structures: int | None = None
) -> nn.Module:
    """Return the network of a configuration: logits (B, out_channels, H, W) of films (B, in_channels, H, W).

    `structures` is the number of image logits, of a network with an image-level head; where None, `out_channels`.
    Such a network returns the pair that `image_head.split_output` takes apart.

    Raises
    ------
    ConfigurationError
        Settings that do not make a network, or encoder weights that cannot be had.
    """
    check_model(settings)
    model = MODELS[settings.name](settings, in_channels, out_channels)
    if settings.image_head:
        add_image_head(model, structures or out_channels, settings.image_head_dropout)
    if settings.freezes_encoder:
        freeze(model.get_submodule("encoder"))
    return model


def check_model(settings: ModelSection) -> None:
    """Refuse settings that a network has no place for, before anything is built.

    Raises
    ------
    ConfigurationError
        An image-level head or a frozen encoder for a network without an encoder of the library, or an encoder for
        which the FCN has no head.
    """
    if settings.image_head and settings.name not in ARCHITECTURES:
        raise ConfigurationError(
            f"model.image_head = true: {settings.name} has no image-level head",
            f"set model.image_head=false, or choose among {', '.join(ARCHITECTURES)}",
        )
    if settings.name == "fcn":
        fcn_form(settings.encoder)
    elif settings.freezes_encoder and settings.name not in ARCHITECTURES:
        raise ConfigurationError(
            f"model.freeze_encoder = true: {settings.name} has no encoder with weights of its own",
            f"leave model.freeze_encoder out, or choose among {', '.join([*ARCHITECTURES, 'fcn'])}",
        )


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
    return ARCHITECTURES[settings.name].fewest_films if settings.name in ARCHITECTURES else 1


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
