"""The number format in which losses are computed."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Return float16 and bfloat16 values as float32 and others as they are.

    Under autocast logits come as bfloat16, whose 8 significant bits cannot add up the pixels of a mask.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
