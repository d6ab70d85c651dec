"""The ROC curve of scores of films with and without a finding; the area under it stands in `auc.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the false and the true positive rate at every threshold, from (0, 0) to (1, 1).

    NaN throughout for the rate of which there is no film. Films with equal scores make one step.
    """
    values, truth = np.asarray(scores, np.float64).ravel(), np.asarray(labels, bool).ravel()
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), values.size - 1)
    found, wrong = np.cumsum(truth[order])[last_of_tie], np.cumsum(~truth[order])[last_of_tie]
    with np.errstate(invalid="ignore"):
        return np.append(0, wrong) / np.float64(wrong[-1]), np.append(0, found) / np.float64(found[-1])
