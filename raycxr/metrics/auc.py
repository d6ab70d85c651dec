"""Area under the ROC curve of a score per film: the chance that a film with the structure outscores one without.

Computed from ranks (Mann and Whitney 1947; Hanley and McNeil 1982); equal scores count half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Auc:
    """AUC of films that are counted several times or not at all, as a bootstrap draws them.

    Parameters
    ----------
    scores : float (N,)
        Higher where the structure is more likely.
    positive : bool (N,)
        Whether it is there.
    """

    def __init__(self, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> None:
        if scores.shape != positive.shape or scores.ndim != 1:
            raise ValueError(f"scores and truth must be (N,) and alike, got {scores.shape} and {positive.shape}")
        self.order = np.argsort(scores, kind="stable")
        self.positive = positive[self.order]
        ordered = scores[self.order]
        # Where a run of equal scores starts.
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])

    def __call__(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the AUC (R,) of counts (R, N) of each film; NaN without a positive or without a negative film."""
        if not len(self.order):
            return np.full(len(counts), np.nan)
        ordered = counts[:, self.order]
        positives = np.add.reduceat(ordered * self.positive, self.starts, axis=1)
        negatives = np.add.reduceat(ordered * ~self.positive, self.starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives
        won = (positives * (below + negatives / 2)).sum(axis=1)
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return np.where(pairs > 0, won / np.where(pairs > 0, pairs, 1), np.nan)


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the AUC of scores (N,) for films that are positive or not (N,) bool; NaN without one of the two kinds."""
    return float(Auc(scores, positive)(np.ones((1, len(scores))))[0])
