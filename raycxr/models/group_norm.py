"""Group norm in place of batch norm (Wu and He 2018, arXiv 1803.08494): no film of a batch depends on the others.

* One film to a forward pass, accumulation and any number of workers compute the same, as no statistics are shared.
* Scale and shift of each channel are kept, those of an encoder trained with batch norm among them. Its running
  statistics have no place any more: such an encoder hands out other features than before, and has to be trained on.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

MOST_GROUPS = 32
# Fewer of them made the paper's networks worse (its table 3), and a group of one channel of one pixel would be zero.
FEWEST_CHANNELS = 8


class ActivatedGroupNorm(nn.GroupNorm):
    """Group norm, then the dropout and activation that timm keeps inside its batch norms.

    Parameters
    ----------
    groups, channels, eps, affine
        As of `nn.GroupNorm`.
    drop, act : nn.Module
        Those of the batch norm that this one replaces.
    """

    def __init__(self, groups: int, channels: int, eps: float, affine: bool, drop: nn.Module, act: nn.Module) -> None:
        super().__init__(groups, channels, eps, affine)
        self.drop, self.act = drop, act

    def forward(self, features: Tensor) -> Tensor:
        """Return activated features (B, C, H, W)."""
        activated: Tensor = self.act(self.drop(super().forward(features)))
        return activated


def use_group_norm(model: nn.Module) -> None:
    """Replace every batch norm inside a network by a group norm with its scale and shift, in place."""
    for name, module in model.named_children():
        if isinstance(module, _BatchNorm):
            setattr(model, name, _group_norm(module))
        else:
            use_group_norm(module)


def group_count(channels: int) -> int:
    """Return the largest divisor of `channels` up to 32 that leaves 8 channels or more to a group, else 1."""
    fitting = (count for count in range(min(MOST_GROUPS, channels // FEWEST_CHANNELS), 1, -1) if channels % count == 0)
    return next(fitting, 1)


def _group_norm(norm: _BatchNorm) -> nn.GroupNorm:
    channels, groups = norm.num_features, group_count(norm.num_features)
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    made = (
        ActivatedGroupNorm(groups, channels, norm.eps, norm.affine, drop, act)
        if isinstance(drop, nn.Module) and isinstance(act, nn.Module)
        else nn.GroupNorm(groups, channels, norm.eps, norm.affine)
    )
    # The parameters themselves: what is frozen stays frozen.
    made.weight, made.bias = norm.weight, norm.bias
    return made
