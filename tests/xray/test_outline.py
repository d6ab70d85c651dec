"""Outlines of masks and films as they are shown."""

from __future__ import annotations

import numpy as np
import pytest

from raycxr.xray.outline import COLOURS, find_outlines, grey_levels


@pytest.mark.parametrize("side", [32, 128])
def test_an_outline_runs_around_every_part_and_every_hole(side: int) -> None:
    mask = np.zeros((32, 32), bool)
    mask[4:16, 4:28] = True
    mask[8:12, 8:12] = False
    mask[20:28, 10:20] = True
    outlines = find_outlines(mask, side)
    assert len(outlines) == 3
    corners = np.concatenate(outlines).reshape(-1, 2)
    scale = side / 32
    assert corners.min(axis=0) == pytest.approx([4 * scale, 4 * scale], abs=scale)
    assert corners.max(axis=0) == pytest.approx([28 * scale, 28 * scale], abs=scale)


def test_an_empty_mask_has_no_outline() -> None:
    assert len(find_outlines(np.zeros((8, 8), bool), 64)) == 0


def test_grey_levels_go_from_black_to_white() -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert grey_levels(eight) is eight
    assert grey_levels(np.array([[0, 0.5, 1]], np.float32)).tolist() == [[0, 127, 255]]


def test_seven_classes_have_seven_colours() -> None:
    assert len(set(COLOURS)) == len(COLOURS) == 7
