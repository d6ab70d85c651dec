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
        One weight for each of the losses, those of `image_losses` among them.
    image_losses : mapping of str to nn.Module
        Each maps the logits of an image-level head and target to a scalar.
    """

    def __init__(
        self,
        losses: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        image_losses: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        image_losses = image_losses or {}
        if {*losses, *image_losses} != weights.keys():
            raise ValueError(f"losses {sorted([*losses, *image_losses])} with weights for {sorted(weights)}")
        self.losses = nn.ModuleDict(losses)
        self.image_losses = nn.ModuleDict(image_losses)
        self.weights = dict(weights)

    def parts(self, logits: Tensor, target: Tensor, image_logits: Tensor | None = None) -> dict[str, Tensor]:
        """Return each loss by name, a scalar before weighting; 0, without gradient, for no images at all."""
        values = {name: _mean_over_images(loss, logits, target) for name, loss in self.losses.items()}
        if self.image_losses:
            if image_logits is None:
                raise ValueError(f"{', '.join(self.image_losses)} without logits of an image-level head")
            for name, loss in self.image_losses.items():
                values[name] = _mean_over_images(loss, image_logits, target)
        return values

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Return the scalar weighted sum of what `parts` gave."""
        name, *others = parts
        total = self.weights[name] * parts[name]
        for other in others:
            total = total + self.weights[other] * parts[other]
        return total

    def forward(self, logits: Tensor, target: Tensor, image_logits: Tensor | None = None) -> Tensor:
        """Return the scalar weighted sum."""
        return self.total(self.parts(logits, target, image_logits))


def _mean_over_images(loss: nn.Module, logits: Tensor, target: Tensor) -> Tensor:
    if len(logits) == 0:
        # Still a sum of the logits: distributed training waits for a gradient, if only zero, of every parameter.
        return logits.float().sum()
    value: Tensor = loss(logits, target)
    return value
