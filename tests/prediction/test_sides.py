"""Left and right in the names of classes."""

from __future__ import annotations

import pytest

from raycxr.errors import ConfigurationError
from raycxr.prediction.sides import mirrored_order


@pytest.mark.parametrize(
    ("classes", "order"),
    [
        (["lungs", "heart"], [0, 1]),
        (["left lung", "right lung"], [1, 0]),
        (["heart", "Right_Lung", "clavicle left", "Left_Lung", "clavicle right"], [0, 3, 4, 1, 2]),
        (["lung_l", "lung_r", "pleura"], [1, 0, 2]),
        (["LungLeft", "LungRight", "rightrib", "leftrib"], [1, 0, 3, 2]),
        (["bright spot", "vertebra L4", "upright film"], [0, 1, 2]),
    ],
)
def test_sides_are_told_by_name(classes: list[str], order: list[int]) -> None:
    assert mirrored_order(classes) == order


@pytest.mark.parametrize("classes", [["left lung", "heart"], ["left lung", "right clavicle"], ["lung l", "lungs"]])
def test_a_side_without_its_counterpart_is_refused(classes: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="a horizontal flip turns") as caught:
        mirrored_order(classes)
    assert classes[0] in caught.value.message
    assert "horizontal_flip" in caught.value.remedy
