"""The networks of segmentation-models-pytorch (smp), each with any encoder that can serve it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from raycxr.errors import ConfigurationError
from raycxr.models.smp_encoder import build_with_encoder

# The library takes three seconds to import, which `raycxr --help` and the other networks need not pay.

_OTHER_ENCODER = "choose another encoder or another network"
_OTHER_DEPTH = "choose another encoder or another number of model.decoder_channels"
_TRANSFORMER = "choose a vision transformer of timm with patches of 16 pixels, such as tu-vit_base_patch16_224"


@dataclass(frozen=True)
class Architecture:
    """A network of the library, apart from its encoder.

    Attributes
    ----------
    smp_name : str
        Its class in the library.
    title : str
        What messages call it.
    divisor : int or None
        Of how many pixels height and width must be multiples: the size of a pixel of the smallest maps. None where
        it follows from the number of decoder levels, which one can choose.
    smallest : int
        Least height and width, where that is more than the divisor.
    fewest_films : int
        2 where the decoder pools a film to one pixel before a batch norm, which has nothing to measure on one film.
    remedy : str
        What helps where an encoder cannot serve it.
    """

    smp_name: str
    title: str
    divisor: int | None
    smallest: int = 0
    fewest_films: int = 1
    remedy: str = _OTHER_ENCODER


ARCHITECTURES = {
    # Ronneberger 2015, arXiv 1505.04597
    "unet": Architecture("Unet", "a U-Net", None, remedy=_OTHER_DEPTH),
    # nested skip connections: Zhou 2018, arXiv 1807.10165
    "unetplusplus": Architecture("UnetPlusPlus", "a U-Net++", None, remedy=_OTHER_DEPTH),
    # attention over positions and over scales: Fan 2020, IEEE Access 8
    "manet": Architecture("MAnet", "an MA-Net", None, remedy=_OTHER_DEPTH),
    # skip connections added: Chaurasia 2017, arXiv 1707.03718
    "linknet": Architecture("Linknet", "a LinkNet", 32),
    # feature pyramid: Lin 2017, arXiv 1612.03144
    "fpn": Architecture("FPN", "an FPN", 32),
    # pyramid pooling at an eighth of the size: Zhao 2017, arXiv 1612.01105
    "pspnet": Architecture("PSPNet", "a PSPNet", 8),
    # dilated encoder at an eighth of the size: Chen 2017, arXiv 1706.05587
    "deeplabv3": Architecture("DeepLabV3", "a DeepLabV3", 8, fewest_films=2),
    # dilated encoder at a sixteenth of the size, and a decoder: Chen 2018, arXiv 1802.02611
    "deeplabv3plus": Architecture("DeepLabV3Plus", "a DeepLabV3+", 16, fewest_films=2),
    # pyramid attention, which halves the smallest maps three times more: Li 2018, arXiv 1805.10180
    "pan": Architecture("PAN", "a PAN", 16, smallest=128, fewest_films=2),
    # pyramid pooling and a feature pyramid: Xiao 2018, arXiv 1807.10221
    "upernet": Architecture("UPerNet", "an UPerNet", 32, fewest_films=2),
    # all levels of the encoder mixed by linear layers: Xie 2021, arXiv 2105.15203
    "segformer": Architecture("Segformer", "a SegFormer", 32),
    # a vision transformer, its tokens put back into maps; halves patches of 16 pixels: Ranftl 2021, arXiv 2103.13413
    "dpt": Architecture("DPT", "a DPT", 32, remedy=_TRANSFORMER),
}


def build_smp_network(
    name: str,
    encoder: str,
    encoder_weights: str | None,
    in_channels: int,
    out_channels: int,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
) -> nn.Module:
    """Return a network: logits (B, out_channels, H, W) of films (B, in_channels, H, W).

    Parameters of the encoder that the logits do not depend on are frozen.

    Parameters
    ----------
    name : str
        Of `ARCHITECTURES`.
    encoder, encoder_weights
        As in `build_with_encoder`.
    decoder_channels : sequence of int
        Maps per decoder level, lowest resolution first; their number, 3 to 5, is the depth of the encoder. Used by
        the networks whose decoder has as many levels as one says: unet, unetplusplus and manet.

    Raises
    ------
    ConfigurationError
        Levels that make no network, or as `build_with_encoder`.
    """
    import segmentation_models_pytorch as smp

    architecture = ARCHITECTURES[name]
    title = architecture.title
    network = partial(
        getattr(smp, architecture.smp_name), encoder_name=encoder, in_channels=in_channels, classes=out_channels
    )
    if architecture.divisor is None:
        _check_levels(decoder_channels, title)
        network = partial(network, encoder_depth=len(decoder_channels), decoder_channels=tuple(decoder_channels))
        title += f" of {len(decoder_channels)} decoder levels"
    if name == "dpt":
        # Films of other sizes than those that the transformer was made for.
        network = partial(network, dynamic_img_size=True)
    return build_with_encoder(network, title, architecture.remedy, encoder, encoder_weights, in_channels)


def _check_levels(decoder_channels: Sequence[int], title: str) -> None:
    if not 3 <= len(decoder_channels) <= 5 or min(decoder_channels) < 1:
        raise ConfigurationError(
            f"model.decoder_channels = {tuple(decoder_channels)} do not make {title}",
            "give three to five levels, one positive number of maps each",
        )
