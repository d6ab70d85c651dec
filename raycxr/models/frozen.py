"""Encoders that keep their weights: no gradient, and always in evaluation mode.

Evaluation mode for the whole of it, not for batch norm alone: dropout would make features of fixed weights random. The
library's own `freeze_encoder` leaves that dropout on, in validation as well.
"""

from __future__ import annotations

from types import MethodType

from torch import nn


def freeze(encoder: nn.Module) -> None:
    """Freeze an encoder in place, for good.

    Its parameters take no gradient, so that neither the optimizer nor distributed training waits for one, and
    `train` leaves it in evaluation mode, whichever network it is a part of: running statistics do not move.
    Copies made with `copy.deepcopy` are frozen as well.
    """
    encoder.requires_grad_(False)
    # Bound to this encoder, and thus bound anew in a copy; a subclass would need a name for each of the library's.
    encoder.train = MethodType(_stay_in_evaluation, encoder)  # type: ignore[method-assign]
    encoder.eval()


def _stay_in_evaluation(encoder: nn.Module, mode: bool = True) -> nn.Module:
    return nn.Module.train(encoder, False)
