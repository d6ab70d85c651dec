"""The size of a film, checked before a network halves it."""

from __future__ import annotations

from torch import Tensor

from raycxr.errors import ConfigurationError


def check_halvings(network: str, halvings: int, image: Tensor) -> None:
    """Check that films (B, C, H, W) can be halved so often without losing a row or a column.

    Raises
    ------
    ConfigurationError
        H or W is not a multiple of 2 to the power of `halvings`.
    """
    height, width = image.shape[-2:]
    divisor = 1 << halvings
    if height % divisor or width % divisor:
        raise ConfigurationError(
            f"{network} halves the size {halvings} times: {height}x{width} pixels cannot be divided by {divisor}",
            f"use a size that is a multiple of {divisor}",
        )
