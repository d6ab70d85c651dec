"""The classifier: encoder, global pooling, and a multilayer perceptron with one output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raycxr.config.classify import ClassifySection


class Classifier(nn.Module):
    """Logit of a label.

    Parameters
    ----------
    encoder : nn.Module
        Films (B, 1, H, W) to maps (B, C, h, w).
    head : nn.Module
        Pooled features to logits, see `build_head`.
    pooling : {"average", "max", "average_max"}
        Over the whole maps; the last one puts both side by side.
    frozen : bool
        Keeps the encoder as it is: no gradient, and batch norms with their stored statistics also in training.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, pooling: str, frozen: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.pooling, self.frozen = encoder, head, pooling, frozen
        if frozen:
            self.encoder.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B,) of films (B, 1, H, W)."""
        logits: Tensor = self.head(choose_pooled(pool_both(self.encoder(image)), self.pooling))
        return logits

    def train(self, mode: bool = True) -> Classifier:
        """Switch to training, or back; a frozen encoder stays as it is used."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self


def pool_both(maps: Tensor) -> Tensor:
    """Averages and maxima (B, 2 C) float32 of maps (B, C, h, w)."""
    maps = maps.float()
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def choose_pooled(both: Tensor, pooling: str) -> Tensor:
    """Features (B, C) or (B, 2 C) that the pooling asks for, of averages and maxima (B, 2 C)."""
    if pooling == "average_max":
        return both
    average, maximum = both.chunk(2, dim=1)
    return average if pooling == "average" else maximum


def build_head(section: ClassifySection, maps: int) -> nn.Module:
    """Return the perceptron: features of `maps` feature maps to logits (B,).

    Features of different encoders differ in scale by orders of magnitude, so they are brought to zero mean and unit
    deviation first. Frozen features have fixed statistics, which the plain average over all batches finds; those of
    an encoder in training move, and a running average follows them.
    """
    inputs = 2 * maps if section.pooling == "average_max" else maps
    layers: list[nn.Module] = [nn.BatchNorm1d(inputs, affine=False, momentum=None if section.frozen else 0.1)]
    for units_in, units in zip([inputs, *section.hidden], section.hidden, strict=False):
        layers += [nn.Linear(units_in, units), nn.ReLU(), nn.Dropout(section.dropout)]
    return nn.Sequential(*layers, nn.Linear(_last(inputs, section.hidden), 1), nn.Flatten(0))


def _last(inputs: int, hidden: Sequence[int]) -> int:
    return hidden[-1] if hidden else inputs
