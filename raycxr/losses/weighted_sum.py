"""A weighted sum of losses, with its parts at hand for logging."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class WeightedSum(nn.Module):
    """Sum over names of weight x loss.

    Parameters
    ----------
    losses : mapping of str to nn.Module
        Each maps logits and target to a scalar.
    weights : mapping of str to float
        One weight for each of the losses.
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if losses.keys() != weights.keys():
            raise ValueError(f"losses {sorted(losses)} with weights for {sorted(weights)}")
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)

    def parts(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return each loss by name, a scalar before weighting; 0, without gradient, for no images at all."""
        if len(logits) == 0:
            return dict.fromkeys(self.losses, logits.float().sum())
        return {name: loss(logits, target) for name, loss in self.losses.items()}

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the scalar weighted sum of what `parts` gave."""
        name, *others = parts
        total = self.weights[name] * parts[name]
        for other in others:
            total = total + self.weights[other] * parts[other]
        return total

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar weighted sum."""
        return self.total(self.parts(logits, target))
