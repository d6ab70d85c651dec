"""The networks of segmentation-models-pytorch (smp), each with any encoder that can serve it.

All return logits (B, out_channels, H, W) of films (B, in_channels, H, W). Parameters of the encoder that the logits
do not depend on are frozen. `encoder` and `encoder_weights` are described in `smp_encoder.py`, and so are the
errors: a ConfigurationError for an encoder or weights that do not exist or do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from raycxr.errors import ConfigurationError
from raycxr.models.smp_encoder import build_with_encoder

# The library takes three seconds to import, which `raycxr --help` and the other networks need not pay.

_DECODER_CHANNELS = (256, 128, 64, 32, 16)
_OTHER_ENCODER = "choose another encoder or another network"
_TRANSFORMER = "choose a vision transformer of timm with patches of 16 pixels, such as tu-vit_base_patch16_224"
_OTHER_DEPTH = "choose another encoder or another number of model.decoder_channels"


def build_unet(
    encoder: str,
    encoder_weights: str | None,
    in_channels: int,
    out_channels: int,
    decoder_channels: Sequence[int] = _DECODER_CHANNELS,
) -> nn.Module:
    """Return a U-Net (Ronneberger 2015, arXiv 1505.04597).

    `decoder_channels` are the maps per decoder level, lowest resolution first; their number, 3 to 5, is the depth
    of the encoder.
    """
    import segmentation_models_pytorch as smp

    _check_depth(decoder_channels, "a U-Net")
    network = partial(
        smp.Unet,
        encoder_name=encoder,
        encoder_depth=len(decoder_channels),
        decoder_channels=tuple(decoder_channels),
        in_channels=in_channels,
        classes=out_channels,
    )
    title = f"a U-Net of {len(decoder_channels)} decoder levels"
    return build_with_encoder(network, title, _OTHER_DEPTH, encoder, encoder_weights, in_channels)


def build_unetplusplus(
    encoder: str,
    encoder_weights: str | None,
    in_channels: int,
    out_channels: int,
    decoder_channels: Sequence[int] = _DECODER_CHANNELS,
) -> nn.Module:
    """Return a U-Net++: nested skip connections (Zhou 2018, arXiv 1807.10165).

    `decoder_channels` are the maps per decoder level, lowest resolution first; their number, 3 to 5, is the depth
    of the encoder.
    """
    import segmentation_models_pytorch as smp

    _check_depth(decoder_channels, "a U-Net++")
    network = partial(
        smp.UnetPlusPlus,
        encoder_name=encoder,
        encoder_depth=len(decoder_channels),
        decoder_channels=tuple(decoder_channels),
        in_channels=in_channels,
        classes=out_channels,
    )
    title = f"a U-Net++ of {len(decoder_channels)} decoder levels"
    return build_with_encoder(network, title, _OTHER_DEPTH, encoder, encoder_weights, in_channels)


def build_manet(
    encoder: str,
    encoder_weights: str | None,
    in_channels: int,
    out_channels: int,
    decoder_channels: Sequence[int] = _DECODER_CHANNELS,
) -> nn.Module:
    """Return an MA-Net: attention over positions and over scales (Fan 2020, IEEE Access 8).

    `decoder_channels` are the maps per decoder level, lowest resolution first; their number, 3 to 5, is the depth
    of the encoder.
    """
    import segmentation_models_pytorch as smp

    _check_depth(decoder_channels, "an MA-Net")
    network = partial(
        smp.MAnet,
        encoder_name=encoder,
        encoder_depth=len(decoder_channels),
        decoder_channels=tuple(decoder_channels),
        in_channels=in_channels,
        classes=out_channels,
    )
    title = f"an MA-Net of {len(decoder_channels)} decoder levels"
    return build_with_encoder(network, title, _OTHER_DEPTH, encoder, encoder_weights, in_channels)


def build_linknet(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a LinkNet: skip connections added (Chaurasia 2017, arXiv 1707.03718)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.Linknet, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "a LinkNet", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_fpn(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a feature pyramid network (Lin 2017, arXiv 1612.03144)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.FPN, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "an FPN", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_pspnet(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a PSPNet: pyramid pooling at an eighth of the size (Zhao 2017, arXiv 1612.01105)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.PSPNet, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "a PSPNet", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_deeplabv3(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a DeepLabV3: dilated encoder at an eighth of the size (Chen 2017, arXiv 1706.05587)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.DeepLabV3, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "a DeepLabV3", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_deeplabv3plus(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a DeepLabV3+: dilated encoder at a sixteenth of the size, and a decoder (Chen 2018, arXiv 1802.02611)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.DeepLabV3Plus, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "a DeepLabV3+", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_pan(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a PAN: pyramid attention, for films of 128 pixels or more (Li 2018, arXiv 1805.10180)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.PAN, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "a PAN", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_upernet(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return an UPerNet: pyramid pooling and a feature pyramid (Xiao 2018, arXiv 1807.10221)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.UPerNet, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "an UPerNet", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_segformer(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a SegFormer: all levels of the encoder mixed by linear layers (Xie 2021, arXiv 2105.15203)."""
    import segmentation_models_pytorch as smp

    network = partial(smp.Segformer, encoder_name=encoder, in_channels=in_channels, classes=out_channels)
    return build_with_encoder(network, "a SegFormer", _OTHER_ENCODER, encoder, encoder_weights, in_channels)


def build_dpt(encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int) -> nn.Module:
    """Return a DPT: a vision transformer of timm, its tokens put back into maps (Ranftl 2021, arXiv 2103.13413)."""
    import segmentation_models_pytorch as smp

    network = partial(
        smp.DPT,
        encoder_name=encoder,
        in_channels=in_channels,
        classes=out_channels,
        dynamic_img_size=True,  # films of other sizes than those that the transformer was made for
    )
    return build_with_encoder(network, "a DPT", _TRANSFORMER, encoder, encoder_weights, in_channels)


def _check_depth(decoder_channels: Sequence[int], network: str) -> None:
    if not 3 <= len(decoder_channels) <= 5 or min(decoder_channels) < 1:
        raise ConfigurationError(
            f"model.decoder_channels = {tuple(decoder_channels)} do not make {network}",
            "give three to five levels, one positive number of maps each",
        )


# Those whose decoder has as many levels as one says, and those whose levels are fixed.
LEVELLED: dict[str, Callable[[str, str | None, int, int, Sequence[int]], nn.Module]] = {
    "unet": build_unet,
    "unetplusplus": build_unetplusplus,
    "manet": build_manet,
}
FIXED: dict[str, Callable[[str, str | None, int, int], nn.Module]] = {
    "linknet": build_linknet,
    "fpn": build_fpn,
    "pspnet": build_pspnet,
    "deeplabv3": build_deeplabv3,
    "deeplabv3plus": build_deeplabv3plus,
    "pan": build_pan,
    "upernet": build_upernet,
    "segformer": build_segformer,
    "dpt": build_dpt,
}
# Of how many pixels height and width must be multiples: the size of a pixel of the smallest maps. DPT halves the
# patches of 16 pixels once more.
FIXED_DIVISORS = {
    "linknet": 32,
    "fpn": 32,
    "pspnet": 8,
    "deeplabv3": 8,
    "deeplabv3plus": 16,
    "pan": 16,
    "upernet": 32,
    "segformer": 32,
    "dpt": 32,
}
# PAN halves its smallest maps three times more.
FIXED_SMALLEST = {"pan": 128}
# Their decoders pool a film to one pixel before a batch norm, which has nothing to measure on a single film.
NEED_TWO_FILMS = {"deeplabv3", "deeplabv3plus", "pan", "upernet"}
