"""The plain U-Net (Ronneberger 2015, arXiv 1505.04597) with padded convolutions.

Two differences from the paper: convolutions keep the size, so that the logits have the size of the film, and
`base_channels` is free. 64 are the maps of the paper; 32 make the network of the tuberculosis projects.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raycxr.errors import ConfigurationError
from raycxr.models.film_size import check_halvings

HALVINGS = 4
BASE_CHANNELS = 32


class ClassicUnet(nn.Module):
    """Two 3x3 convolutions with ReLU per level, four levels and a bridge, no batch norm.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the film and of the logits.
    base_channels : int
        Maps of the first level, doubled at each level below: 32-64-128-256 and 512 in the bridge.

    Notes
    -----
    Parameters with 1 input channel and 1 output: 7,759,521 with 32 maps at first, 31,030,593 with 64.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 1, base_channels: int = BASE_CHANNELS) -> None:
        super().__init__()
        if base_channels < 1:
            raise ConfigurationError(f"model.base_channels = {base_channels} is no U-Net", "choose 1 or more")
        maps = [base_channels << level for level in range(HALVINGS + 1)]
        self.encoder = nn.ModuleList(
            _level(maps_in, maps_out) for maps_in, maps_out in zip([in_channels, *maps], maps, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up_sampling = nn.ModuleList(
            nn.ConvTranspose2d(2 * level_maps, level_maps, kernel_size=2, stride=2) for level_maps in maps[-2::-1]
        )
        self.decoder = nn.ModuleList(_level(2 * level_maps, level_maps) for level_maps in maps[-2::-1])
        self.head = nn.Conv2d(base_channels, out_channels, 1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, out_channels, H, W) of films (B, in_channels, H, W).

        Raises
        ------
        ConfigurationError
            H or W is not a multiple of 16.
        """
        check_halvings("U-Net", HALVINGS, image)
        features = image
        skips: list[Tensor] = []
        for level in self.encoder:
            features = level(self.pool(features) if skips else features)
            skips.append(features)
        for up_sampling, level, skip in zip(self.up_sampling, self.decoder, skips[-2::-1], strict=True):
            features = level(torch.cat([skip, up_sampling(features)], dim=1))
        logits: Tensor = self.head(features)
        return logits


def _level(maps_in: int, maps: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(maps_in, maps, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(maps, maps, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def _initialise(module: nn.Module) -> None:
    # Without batch norm, torch's own initialisation lets the signal die out over 18 convolutions. This is the
    # paper's; for the transpose convolutions, where the stride equals the kernel, it keeps the mean square as well.
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
