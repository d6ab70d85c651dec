"""Random changes of training films and their masks.

Every film's changes follow from (seed, epoch, film id) alone, never from the worker or the order, so that one worker
and eight see the same pictures and a resumed run goes on where it was. Where sampling takes a film more than once in an
epoch, its turns are counted, and each has changes of its own; the pictures of an epoch are the same in any order.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.config.augment import AugmentSection


class Augmentation:
    """The random changes of one configuration.

    Parameters
    ----------
    section : AugmentSection
        Strengths and probabilities.
    seed : int
        Seed of the run.
    width : int
        Width of the films in pixels, to which strengths refer.
    """

    def __init__(self, section: AugmentSection, seed: int, width: int) -> None:
        self.section, self.seed, self.width = section, seed, width
        self.compose: Any = None

    def __call__(
        self, image: NDArray[Any], field: NDArray[np.uint8], epoch: int, film_id: str, turn: int = 0
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Change a film (H, W) uint8 or float32 in 0..1, and its bit field (H, W) uint8, alike.

        `turn` tells how often the film came before in the epoch.
        """
        if self.compose is None:
            # Here, so that it is the loader processes that import albumentations, while the network is being built.
            from raycxr.dataset.transforms import compose

            self.compose = compose(self.section, self.width)
        seed = augmentation_seed(self.seed, epoch, film_id, turn)
        # Generators that all transforms share. With `set_random_seed` each would have its own of the same seed, and
        # draw the same numbers: whatever is turned to the left would be dark, and one flip would never come alone.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        if not field.any():
            # Moving nothing takes a fifth of the time; what is drawn does not depend on the field.
            return self.compose(image=image)["image"], field
        changed = self.compose(image=image, mask=field)
        return changed["image"], changed["mask"]


def augmentation_seed(seed: int, epoch: int, film_id: str, turn: int = 0) -> int:
    """Seed of one turn of a film in one epoch, 0..2^32 - 1: a hash that is the same on every machine."""
    when = f"{epoch}.{turn}" if turn else str(epoch)
    digest = hashlib.sha256(f"{seed}:{when}:{film_id}".encode()).digest()
    return int.from_bytes(digest[:4], "little")
