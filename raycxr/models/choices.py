"""The networks that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from raycxr.config.sections import ModelSection
from raycxr.models import classic_unet, res_unet
from raycxr.models.classic_unet import ClassicUnet
from raycxr.models.inverted_net import FORMS, build_inverted_net
from raycxr.models.res_unet import ResUnet
from raycxr.models.smp_network import FIXED, FIXED_DIVISORS, FIXED_SMALLEST, LEVELLED, NEED_TWO_FILMS


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

    Some networks also run at other sizes, but shift their maps against each other there.
    """
    return SIZE_DIVISORS[settings.name](settings)


def smallest_size(settings: ModelSection) -> int:
    """Return the least height and width of a film."""
    return FIXED_SMALLEST.get(settings.name, size_divisor(settings))


def fewest_films(settings: ModelSection) -> int:
    """Return how many films a forward pass of training needs at least."""
    return 2 if settings.name in NEED_TWO_FILMS else 1


def _classic_unet(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return ClassicUnet(in_channels, out_channels, settings.base_channels or classic_unet.BASE_CHANNELS)


def _res_unet(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return ResUnet(in_channels, out_channels, settings.base_channels or res_unet.BASE_CHANNELS)


def _inverted_net(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return build_inverted_net(settings.form, settings.channels, settings.dropout, in_channels, out_channels)


def _levelled(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    build = LEVELLED[settings.name]
    return build(settings.encoder, settings.encoder_weights, in_channels, out_channels, settings.decoder_channels)


def _fixed(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    return FIXED[settings.name](settings.encoder, settings.encoder_weights, in_channels, out_channels)


def _classic_unet_divisor(settings: ModelSection) -> int:
    return 1 << classic_unet.HALVINGS


def _res_unet_divisor(settings: ModelSection) -> int:
    return 1 << res_unet.HALVINGS


def _inverted_net_divisor(settings: ModelSection) -> int:
    channels = settings.channels or FORMS[settings.form].channels
    return 1 << (len(channels) - 1)


def _levelled_divisor(settings: ModelSection) -> int:
    return 1 << len(settings.decoder_channels)


def _fixed_divisor(settings: ModelSection) -> int:
    return FIXED_DIVISORS[settings.name]


MODELS: dict[str, Callable[[ModelSection, int, int], nn.Module]] = {
    "classic_unet": _classic_unet,
    "res_unet": _res_unet,
    "inverted_net": _inverted_net,
    **dict.fromkeys(LEVELLED, _levelled),
    **dict.fromkeys(FIXED, _fixed),
}
SIZE_DIVISORS: dict[str, Callable[[ModelSection], int]] = {
    "classic_unet": _classic_unet_divisor,
    "res_unet": _res_unet_divisor,
    "inverted_net": _inverted_net_divisor,
    **dict.fromkeys(LEVELLED, _levelled_divisor),
    **dict.fromkeys(FIXED, _fixed_divisor),
}
