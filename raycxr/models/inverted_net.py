"""InvertedNet: widest at full resolution, maps halve on the way down and double on the way up.

Novikov et al., "Fully convolutional architectures for multi-class segmentation in chest radiographs",
IEEE TMI 2018, arXiv 1701.08816. The same class with other settings is the network of the DD2424 project.

* Delayed subsampling: pools have stride 1, and the first convolution of a level halves the size instead.
* The 2x2 pool looks right and down, which shifts by half a pixel and so centres the strided convolution on
  the very 2x2 pixels that nearest up-sampling hands its result back to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.errors import ConfigurationError
from raycxr.models.film_size import check_halvings


@dataclass(frozen=True)
class InvertedNetForm:
    """The settings that tell a published InvertedNet from another."""

    channels: tuple[int, ...]
    dropout: float
    batch_norm: bool
    up_convolution: bool


# The rate of the paper is not recorded among this project's references ("strong"); 0.2 is a choice.
FORMS: dict[Literal["paper", "dd2424"], InvertedNetForm] = {
    "paper": InvertedNetForm((256, 128, 64, 32, 16), dropout=0.2, batch_norm=False, up_convolution=False),
    "dd2424": InvertedNetForm((128, 64, 32, 16), dropout=0.1, batch_norm=True, up_convolution=True),
}


class InvertedNet(nn.Module):
    """Fully convolutional network of two 3x3 convolutions with ELU and dropout per level.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the film and of the logits.
    channels : sequence of int
        Maps per level, full resolution first.
    dropout : float
        Share of activations dropped at the end of each encoder and decoder level, 0 to below 1.
    batch_norm : bool
        Batch norm on the input and before the head.
    up_convolution : bool
        A 3x3 convolution to the level's maps after each up-sampling, before the concatenation.

    Notes
    -----
    Parameters with 1 input channel: 3,140,771 / 3,141,028 / 3,141,285 with 3 / 4 / 5 outputs (paper form),
    973,062 with 4 outputs (DD2424 form; 973,320 with the batch-norm statistics).
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = FORMS["paper"].channels,
        dropout: float = FORMS["paper"].dropout,
        batch_norm: bool = False,
        up_convolution: bool = False,
    ) -> None:
        super().__init__()
        _check_settings(channels, dropout)
        self.halvings = len(channels) - 1
        self.input_norm = nn.BatchNorm2d(in_channels) if batch_norm else nn.Identity()
        self.encoder = nn.ModuleList(
            _level(maps_in, maps, stride=1 if index == 0 else 2, dropout=dropout)
            for index, (maps_in, maps) in enumerate(zip([in_channels, *channels], channels, strict=False))
        )
        self.up_sampling = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for below, maps in zip(channels[:0:-1], channels[-2::-1], strict=True):
            self.up_sampling.append(_up_sampling(below, maps if up_convolution else None))
            self.decoder.append(_level(maps + (maps if up_convolution else below), maps, stride=1, dropout=dropout))
        self.head_norm = nn.BatchNorm2d(channels[0]) if batch_norm else nn.Identity()
        self.head = nn.Conv2d(channels[0], out_channels, 1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, out_channels, H, W) of films (B, in_channels, H, W).

        Raises
        ------
        ConfigurationError
            H or W is not a multiple of 2 to the power of ``halvings``.
        """
        check_halvings("InvertedNet", self.halvings, image)
        features = self.input_norm(image)
        skips: list[Tensor] = []
        for level in self.encoder:
            features = level(_pool(features) if skips else features)
            skips.append(features)
        for up_sampling, level, skip in zip(self.up_sampling, self.decoder, skips[-2::-1], strict=True):
            features = level(torch.cat([skip, up_sampling(features)], dim=1))
        logits: Tensor = self.head(self.head_norm(features))
        return logits


def build_inverted_net(
    form: Literal["paper", "dd2424"],
    channels: Sequence[int] | None,
    dropout: float | None,
    in_channels: int,
    out_channels: int,
) -> InvertedNet:
    """Return a published form; `channels` and `dropout` replace its own where they are not None."""
    published = FORMS[form]
    return InvertedNet(
        in_channels,
        out_channels,
        channels=published.channels if channels is None else channels,
        dropout=published.dropout if dropout is None else dropout,
        batch_norm=published.batch_norm,
        up_convolution=published.up_convolution,
    )


def _level(maps_in: int, maps: int, stride: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(maps_in, maps, 3, stride=stride, padding=1),
        nn.ELU(inplace=True),
        nn.Conv2d(maps, maps, 3, padding=1),
        nn.ELU(inplace=True),
        nn.Dropout(dropout),
    )


def _up_sampling(maps_in: int, maps: int | None) -> nn.Sequential:
    nearest = nn.Upsample(scale_factor=2, mode="nearest")
    if maps is None:
        return nn.Sequential(nearest)
    return nn.Sequential(nearest, nn.Conv2d(maps_in, maps, 3, padding=1), nn.ELU(inplace=True))


def _pool(features: Tensor) -> Tensor:
    """Maximum of each pixel and its right, lower and lower right neighbours, at the same size."""
    return F.max_pool2d(F.pad(features, (0, 1, 0, 1), value=float("-inf")), kernel_size=2, stride=1)


def _initialise(module: nn.Module) -> None:
    # Without batch norm, torch's own initialisation lets the signal die out over 18 convolutions.
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def _check_settings(channels: Sequence[int], dropout: float) -> None:
    if len(channels) < 2 or min(channels) < 1:
        raise ConfigurationError(
            f"model.channels = {tuple(channels)} is no InvertedNet",
            "give two levels or more, one positive number of maps each",
        )
    if not 0 <= dropout < 1:
        raise ConfigurationError(f"model.dropout = {dropout:g} is out of range", "choose 0 to below 1")
