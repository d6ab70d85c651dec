"""FCN by transfer learning: transpose convolutions on the deepest map of an encoder, without skip connections.

The networks of the pneumothorax project (after Long 2015, arXiv 1411.4038): the encoder of VGG19, ResNet50 or
InceptionV3, frozen unless the configuration says otherwise, and a head of a few thousand weights a layer.

* The heads are made for films of 128 pixels. VGG19 and ResNet50 give logits of the film's size for every multiple of
  32; InceptionV3, which does not pad, only for 128: elsewhere its logits are interpolated.
* The layers of a head follow each other directly, with dropout between them and no other non-linearity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.errors import ConfigurationError
from raycxr.models.smp_encoder import build_with_encoder

_DEEPEST = 5
# The rate is not recorded among this project's references ("dropout between them"); 0.2 is a choice.
DROPOUT = 0.2


@dataclass(frozen=True)
class FcnForm:
    """One encoder and its head.

    Attributes
    ----------
    encoder : str
        Name of the encoder in segmentation-models-pytorch.
    layers : tuple of (int, int)
        Kernel and stride of each transpose convolution.
    divisor, smallest : int
        Of how many pixels height and width must be multiples, and how many they must have.
    """

    encoder: str
    layers: tuple[tuple[int, int], ...]
    divisor: int
    smallest: int


FORMS: dict[str, FcnForm] = {
    "vgg19": FcnForm("vgg19", ((16, 4), (32, 4), (64, 2)), divisor=32, smallest=32),
    "resnet50": FcnForm("resnet50", ((4, 2), (16, 2), (32, 2), (32, 2), (64, 2)), divisor=32, smallest=32),
    "inceptionv3": FcnForm("tu-inception_v3", ((16, 8), (32, 2), (32, 2), (64, 2)), divisor=1, smallest=75),
}


class UpSampling(nn.Module):
    """A transpose convolution that enlarges its maps exactly `stride` times, by padding (kernel - stride) / 2.

    Computed as a convolution at the resolution of its input, with a kernel of its own for each of the stride x stride
    pixels that a pixel becomes. Torch's own kernels on the CPU need 5 times as long for kernels of 64 pixels, and 100
    times as long where the film lies in memory with its channels last.

    Parameters
    ----------
    maps_in, maps : int
        Maps before and after.
    kernel, stride : int
        Pixels of the result; the kernel is a multiple of the stride.
    """

    def __init__(self, maps_in: int, maps: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(maps_in, maps, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(maps))
        self.stride = stride
        # As Keras, which the project used, does: torch's own lets the signal fade by a factor of 3 a layer.
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, maps, stride x H, stride x W) of features (B, maps_in, H, W)."""
        maps_in, maps, kernel, _ = self.weight.shape
        stride, taps = self.stride, kernel // self.stride
        height, width = features.shape[2] * stride, features.shape[3] * stride
        kernels = self.weight.reshape(maps_in, maps, taps, stride, taps, stride).flip(2, 4)
        kernels = kernels.permute(1, 3, 5, 0, 2, 4).reshape(maps * stride * stride, maps_in, taps, taps)
        padding = (kernel - stride) // 2
        bias = self.bias.repeat_interleave(stride * stride)
        fine = F.conv2d(features.contiguous(), kernels, bias, padding=taps - 1 - padding // stride)
        first = padding % stride
        return F.pixel_shuffle(fine, stride)[:, :, first : first + height, first : first + width]


class Fcn(nn.Module):
    """An encoder and a head of transpose convolutions, each layer of which has as many maps as there are outputs.

    Parameters
    ----------
    encoder : nn.Module
        Returns a list of maps (B, `features`, h, w), deepest last.
    features : int
        Maps of the deepest level.
    out_channels : int
        Channels of the logits.
    layers : tuple of (int, int)
        Kernel and stride of each layer.
    dropout : float
        Share of activations dropped between the layers, 0 to below 1.

    Notes
    -----
    Parameters of the head with 2 outputs: 282,630 (VGG19), 91,146 (ResNet50), 1,073,160 (InceptionV3). In general,
    with C outputs: C x features x k1^2 + C^2 x (k2^2 + ...) + C x layers.
    """

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        out_channels: int,
        layers: tuple[tuple[int, int], ...],
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigurationError(f"model.dropout = {dropout:g} is out of range", "choose 0 to below 1")
        self.encoder = encoder
        self.segmentation_head = nn.Sequential()
        for index, (kernel, stride) in enumerate(layers):
            maps_in = features if index == 0 else out_channels
            if index > 0:
                self.segmentation_head.append(nn.Dropout(dropout))
            self.segmentation_head.append(UpSampling(maps_in, out_channels, kernel, stride))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, out_channels, H, W) of films (B, in_channels, H, W)."""
        logits: Tensor = self.segmentation_head(self.encoder(image)[-1])
        if logits.shape[-2:] != image.shape[-2:]:
            logits = F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)
        return logits


def build_fcn(
    encoder: str, encoder_weights: str | None, in_channels: int, out_channels: int, dropout: float | None = None
) -> nn.Module:
    """Return the FCN of an encoder, which is not frozen yet (see `frozen.py`).

    Raises
    ------
    ConfigurationError
        An encoder without a head, or weights that do not exist or do not fit (see `smp_encoder.py`).
    """
    from segmentation_models_pytorch.encoders import get_encoder

    form = fcn_form(encoder)

    def network(encoder_weights: str | bool | None) -> Fcn:
        made = get_encoder(form.encoder, in_channels=in_channels, depth=_DEEPEST, weights=encoder_weights)
        return Fcn(made, made.out_channels[-1], out_channels, form.layers, DROPOUT if dropout is None else dropout)

    return build_with_encoder(network, "an FCN", _REMEDY, form.encoder, encoder_weights, in_channels)


def fcn_form(encoder: str) -> FcnForm:
    """Return the head of an encoder.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    if encoder not in FORMS:
        raise ConfigurationError(f"model.encoder = {encoder!r} has no head in the FCN", _REMEDY)
    return FORMS[encoder]


_REMEDY = f"choose {', '.join(FORMS)}"
