"""The networks that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from raycxr.config.sections import ModelSection
from raycxr.models.inverted_net import FORMS, build_inverted_net
from raycxr.models.unet import build_unet


def build_model(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    """Return the network of a configuration: logits (B, out_channels, H, W) of films (B, in_channels, H, W).

    Raises
    ------
    ConfigurationError
        Settings that do not make a network, or encoder weights that cannot be had.
    """
    return MODELS[settings.name](settings, in_channels, out_channels)


def size_divisor(settings: ModelSection) -> int:
    """Return the number of which the height and width of a film must be multiples.

    The U-Net of the library also runs at other sizes, but shifts its maps against each other there.
    """
    return SIZE_DIVISORS[settings.name](settings)


def _unet(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return build_unet(settings.encoder, settings.encoder_weights, in_channels, out_channels, settings.decoder_channels)


def _inverted_net(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return build_inverted_net(settings.form, settings.channels, settings.dropout, in_channels, out_channels)


def _unet_divisor(settings: ModelSection) -> int:
    return 1 << len(settings.decoder_channels)


def _inverted_net_divisor(settings: ModelSection) -> int:
    channels = settings.channels or FORMS[settings.form].channels
    return 1 << (len(channels) - 1)


MODELS: dict[str, Callable[[ModelSection, int, int], nn.Module]] = {
    "unet": _unet,
    "inverted_net": _inverted_net,
}
SIZE_DIVISORS: dict[str, Callable[[ModelSection], int]] = {
    "unet": _unet_divisor,
    "inverted_net": _inverted_net_divisor,
}
