"""ResUNet: a U-Net of pre-activated residual blocks.

Zhang et al., "Road extraction by deep residual U-Net", IEEE GRSL 2018, arXiv 1711.10684. Maps and the convolutions
in the bridge are those of the ResUNet project on tuberculosis films.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from raycxr.errors import ConfigurationError
from raycxr.models.film_size import check_halvings

HALVINGS = 4
BASE_CHANNELS = 16


class ResUnet(nn.Module):
    """Residual blocks of two BN-ReLU-3x3 convolutions, strided on the way down, nearest up-sampling on the way up.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the film and of the logits.
    base_channels : int
        Maps of the first level, doubled at each level below: 16-32-64-128-256.

    Notes
    -----
    Parameters with 1 input channel and 1 output and 16 maps at first: 4,715,441, and 7,296 batch-norm statistics.
    A decoder level has twice the maps of the encoder level whose size it has.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, base_channels: int = BASE_CHANNELS) -> None:
        super().__init__()
        if base_channels < 1:
            raise ConfigurationError(f"model.base_channels = {base_channels} is no ResUNet", "choose 1 or more")
        maps = [base_channels << level for level in range(HALVINGS + 1)]
        self.stem = ResidualStem(in_channels, maps[0])
        self.encoder = nn.ModuleList(ResidualBlock(above, below, stride=2) for above, below in itertools.pairwise(maps))
        self.bridge = nn.Sequential(_activated(maps[-1], maps[-1], stride=1), _activated(maps[-1], maps[-1], stride=1))
        self.up_sampling = nn.Upsample(scale_factor=2, mode="nearest")
        # The bridge hands as many maps to the first decoder level as each decoder level hands to the next one.
        below = [maps[-1], *maps[:0:-1]]
        self.decoder = nn.ModuleList(
            ResidualBlock(from_below + skip, level_maps, stride=1)
            for from_below, skip, level_maps in zip(below, maps[-2::-1], maps[:0:-1], strict=False)
        )
        self.head = nn.Conv2d(maps[1], out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, out_channels, H, W) of films (B, in_channels, H, W).

        Raises
        ------
        ConfigurationError
            H or W is not a multiple of 16.
        """
        check_halvings("ResUNet", HALVINGS, image)
        skips: list[Tensor] = [self.stem(image)]
        for block in self.encoder:
            skips.append(block(skips[-1]))
        features = self.bridge(skips.pop())
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            features = block(torch.cat([self.up_sampling(features), skip], dim=1))
        logits: Tensor = self.head(features)
        return logits


class ResidualStem(nn.Module):
    """3x3 convolution, BN-ReLU-3x3 convolution, and the film itself through a 1x1 convolution and batch norm."""

    def __init__(self, in_channels: int, maps: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(nn.Conv2d(in_channels, maps, 3, padding=1), _activated(maps, maps, stride=1))
        self.shortcut = _shortcut(in_channels, maps, stride=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, maps, H, W) of films (B, in_channels, H, W)."""
        features: Tensor = self.residual(image) + self.shortcut(image)
        return features


class ResidualBlock(nn.Module):
    """Two BN-ReLU-3x3 convolutions, the first with the stride, and a 1x1 convolution with batch norm beside them."""

    def __init__(self, maps_in: int, maps: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(_activated(maps_in, maps, stride), _activated(maps, maps, stride=1))
        self.shortcut = _shortcut(maps_in, maps, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, maps, H / stride, W / stride) of features (B, maps_in, H, W)."""
        added: Tensor = self.residual(features) + self.shortcut(features)
        return added


def _activated(maps_in: int, maps: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(maps_in), nn.ReLU(inplace=True), nn.Conv2d(maps_in, maps, 3, stride=stride, padding=1)
    )


def _shortcut(maps_in: int, maps: int, stride: int) -> nn.Sequential:
    # The pixels are picked before the convolution, which comes to the same: with few maps in channels-last order, the
    # gradient of a 1x1 convolution with a stride writes outside of its memory on the CPU (torch 2.15).
    picked = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
    return nn.Sequential(picked, nn.Conv2d(maps_in, maps, 1), nn.BatchNorm2d(maps))
