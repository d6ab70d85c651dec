"""Classes that belong to one side of the body, which a mirrored film exchanges."""

from __future__ import annotations

import re
from collections.abc import Sequence

from raycxr.errors import ConfigurationError

# "left" and "right" anywhere in a name but in bright, upright and cleft, l and r only where they stand alone: the
# fourth vertebra, L4, has no side.
SIDE = re.compile(r"(?<!c)left|(?<!b)(?<!up)right|(?<![a-z])[lr](?![a-z0-9])")
OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}


def mirrored_order(classes: Sequence[str]) -> list[int]:
    """For each class, the position of the class that it is in a mirrored film: its own, or that of the other side.

    `[left lung, right lung, heart]` gives `[1, 0, 2]`. Sides are told by the names alone.

    Raises
    ------
    ConfigurationError
        A class has a side, and no class is its counterpart.
    """
    positions = {name.lower(): position for position, name in enumerate(classes)}
    order = []
    for name in classes:
        mirrored = SIDE.sub(lambda found: OTHER_SIDE[found[0]], name.lower())
        if mirrored not in positions:
            raise ConfigurationError(
                f"a horizontal flip turns {name!r} into {mirrored!r}, which is not among the classes "
                f"{', '.join(classes)}",
                "leave horizontal_flip out of evaluate.test_time",
            )
        order.append(positions[mirrored])
    return order
