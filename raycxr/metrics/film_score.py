"""One number per film: how sure a map of probabilities is that there is anything."""

from __future__ import annotations

from torch import Tensor

# The largest probability alone would be the word of one pixel; an area that must be covered before a film counts as
# positive is also what the rules of the SIIM winners ask for.
TOP_SHARE = 0.001


def film_scores(probabilities: Tensor) -> Tensor:
    """Return the mean of the highest 0.1 % of the pixels (at least of one) per film and class: (B, C), 0 to 1.

    Parameters
    ----------
    probabilities : Tensor
        Float (B, C, H, W), 0 to 1, at the size of the network.
    """
    pixels = probabilities.flatten(2)
    highest = pixels.topk(max(1, round(TOP_SHARE * pixels.shape[2])), dim=2, sorted=False)
    return highest.values.mean(dim=2)
