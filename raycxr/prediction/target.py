"""From a batch as it was loaded to what the network and the loss take, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raycxr.config.dataset import DatasetSection
from raycxr.errors import ConfigurationError

# Grey levels 0..1 are brought to about zero mean and unit deviation over chest films as a whole, not film by film:
# a film that is mostly border must not change the meaning of its lung.
MEAN, DEVIATION = 0.5, 0.25


@dataclass(frozen=True)
class TargetKind:
    """How bit fields become targets.

    `labels` is a table of 256 entries: bit field -> class number (multiclass: 0 is background, i + 1 is class i).
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor

    @property
    def channels(self) -> int:
        """Maps that the network puts out."""
        return len(self.classes) + (1 if self.name == "multiclass" else 0)

    def targets(self, fields: Tensor) -> Tensor:
        """Targets of bit fields (B, H, W) uint8: (B, C, H, W) uint8, or (B, H, W) int64 class numbers."""
        if self.name == "multiclass":
            return self.labels.to(fields.device)[fields.int()]
        return self.split(fields).to(torch.uint8)

    def split(self, fields: Tensor) -> Tensor:
        """Structures of bit fields (B, H, W) uint8 as (B, C, H, W) bool; exclusive ones where multiclass."""
        if self.name == "multiclass":
            numbers = self.labels.to(fields.device)[fields.int()]
            return torch.stack([numbers == i + 1 for i in range(len(self.classes))], dim=1)
        bits = torch.arange(len(self.classes), device=fields.device, dtype=torch.uint8)
        return ((fields[:, None] >> bits[None, :, None, None]) & 1).bool()

    def predict(self, probabilities: Tensor, threshold: float = 0.5) -> Tensor:
        """Structures (B, C, H, W) bool that probabilities (B, channels, H, W) stand for."""
        if self.name == "multiclass":
            numbers = probabilities.argmax(dim=1)
            return torch.stack([numbers == i + 1 for i in range(len(self.classes))], dim=1)
        return probabilities > threshold

    def activate(self, logits: Tensor) -> Tensor:
        """Probabilities (B, channels, H, W) float32 of logits."""
        logits = logits.float()
        return logits.softmax(dim=1) if self.name == "multiclass" else logits.sigmoid()


def target_kind(section: DatasetSection, classes: Sequence[str]) -> TargetKind:
    """Targets of a configuration for a data set's classes.

    Raises
    ------
    ConfigurationError
        The precedence does not name exactly the data set's classes.
    """
    precedence = section.precedence or tuple(classes)
    if sorted(precedence) != sorted(classes):
        raise ConfigurationError(
            f"dataset.precedence = {list(precedence)} does not name each class once",
            f"order {', '.join(classes)}",
        )
    labels = torch.zeros(256, dtype=torch.int64)
    for field in range(256):
        winner = next((name for name in precedence if field >> classes.index(name) & 1), None)
        labels[field] = 0 if winner is None else classes.index(winner) + 1
    return TargetKind(section.target, tuple(classes), labels)


def normalise(images: Tensor) -> Tensor:
    """Network input (B, 1, H, W) float32 of films (B, H, W), uint8 or float32 in 0..1."""
    scale = 1 / 255 if images.dtype == torch.uint8 else 1.0
    return (images[:, None].float() * scale - MEAN) / DEVIATION
