"""Test-time augmentation: a film mirrored or at another size, and the prediction brought back to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLIPS = {"horizontal_flip": -1, "vertical_flip": -2}
SCALE = "scale_"


@dataclass(frozen=True)
class View:
    """One way to show a film to a network.

    Attributes
    ----------
    name : str
        As `evaluate.test_time` has it; empty for the film as it is.
    flip : int or None
        Dimension that is mirrored: -1 (left and right), -2 (up and down).
    scale : float
        Factor of the film's height and width.
    """

    name: str = ""
    flip: int | None = None
    scale: float = 1.0

    @property
    def swaps_sides(self) -> bool:
        """Whether left and right change places."""
        return self.flip == FLIPS["horizontal_flip"]

    def side(self, pixels: int, divisor: int, smallest: int) -> int:
        """Pixels of a side of so many as the network sees it: the nearest multiple of `divisor`."""
        return max(smallest, divisor * round(pixels * self.scale / divisor))

    def show(self, films: Tensor, divisor: int, smallest: int) -> Tensor:
        """Network input (B, 1, H', W') of films (B, 1, H, W), both normalised."""
        if self.flip is not None:
            films = films.flip(self.flip)
        height, width = (self.side(pixels, divisor, smallest) for pixels in films.shape[-2:])
        return _resize(films, height, width)

    def undo(self, maps: Tensor, height: int, width: int) -> Tensor:
        """Probabilities (B, C, H', W') brought back to films of height x width."""
        maps = _resize(maps, height, width)
        return maps if self.flip is None else maps.flip(self.flip)


def make_views(names: Sequence[str]) -> list[View]:
    """Return the film as it is, and each view of `evaluate.test_time` on its own."""
    return [View(), *(_make_view(name) for name in names)]


def _make_view(name: str) -> View:
    if name in FLIPS:
        return View(name, flip=FLIPS[name])
    return View(name, scale=float(name.removeprefix(SCALE)))


def _resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Bilinear; a smaller size averages over what falls together."""
    if maps.shape[-2:] == torch.Size((height, width)):
        return maps
    smaller = height < maps.shape[-2] or width < maps.shape[-1]
    return F.interpolate(maps, (height, width), mode="bilinear", align_corners=False, antialias=smaller)
