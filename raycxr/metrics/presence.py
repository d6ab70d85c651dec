"""Figures of a structure that many films do not have, such as a lesion: is it found, and are the others left alone.

All are taken over the films of a split, for a class whose true mask is empty on at least one of them:

* `siim_score` = mean Dice, where two empty masks give 1 and one empty mask 0: the score of the SIIM-ACR competition.
  It is the mean of `dice`, which has the same rule; the competition takes it at 1024 x 1024 pixels, the size of its
  masks, so that only `resolution: original` gives the competition's own number.
* `floor` = `siim_score` of predicting nothing at all: the share of films without the structure
* `dice_positive` = mean Dice of the films that have the structure
* `positives_found` = share of the films that have the structure on which anything is predicted (sensitivity)
* `negatives_empty` = share of the films without the structure on which nothing is predicted (specificity)
* `auc` = area under the ROC curve of the films' scores
* `image_calibration_error` = expected calibration error of the films' scores as probabilities of the structure

The score of a film is the probability of the network's image-level head where it has one, else that of
`film_score.py`, which ranks films but is no probability: its calibration error then says little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# In the order in which they are read: first the competition's score and what it is worth nothing below.
MEANS_OF_FILMS = ("siim_score", "floor", "dice_positive", "positives_found", "negatives_empty")
OF_SCORES = ("auc", "image_calibration_error")
PRESENCE = (*MEANS_OF_FILMS, *OF_SCORES)
NEED_A_POSITIVE = frozenset({"dice_positive", "positives_found", "auc"})


def film_values(
    dice: NDArray[np.float64], predicted: NDArray[np.bool_], true: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Return the values (N,) per film of one class whose means are the figures; NaN where a film does not count.

    Parameters
    ----------
    dice : float (N,)
    predicted, true : bool (N,)
        Whether the mask of a film holds any pixel.
    """
    return {
        "siim_score": dice,
        "floor": np.where(true, 0.0, 1.0),
        "dice_positive": np.where(true, dice, np.nan),
        "positives_found": np.where(true, predicted.astype(np.float64), np.nan),
        "negatives_empty": np.where(true, np.nan, (~predicted).astype(np.float64)),
    }


def with_mean(values: Mapping[str, float]) -> dict[str, float]:
    """Class -> value for the classes whose value is defined (no NaN), and their ``mean``; nothing without one."""
    defined = {name: value for name, value in values.items() if not math.isnan(value)}
    return defined | {"mean": sum(defined.values()) / len(defined)} if defined else {}
