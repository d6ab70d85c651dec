from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from raycxr.xray.anatomy import SIDES, draw_anatomy
from raycxr.xray.canvas import filled
from raycxr.xray.digital import Radiograph, draw_radiograph
from raycxr.xray.pneumothorax import add_pneumothorax, draw_pneumothorax, fit_anatomy

Mask = NDArray[np.bool_]


def grown(mask: Mask, pixels: int) -> Mask:
    side = 2 * abs(pixels) + 1
    change = cv2.dilate if pixels > 0 else cv2.erode
    return np.asarray(change(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def in_lungs(radiograph: Radiograph) -> Mask:
    size = radiograph.image.shape[0]
    inside = filled(radiograph.anatomy.lungs.values(), size) > 127
    return np.asarray(inside & (filled([radiograph.anatomy.heart], size) == 0))


def detail(image: NDArray[np.float32], where: Mask) -> float:
    """Deviation of what is finer than ribs."""
    fine = cv2.GaussianBlur(image, (0, 0), 1) - cv2.GaussianBlur(image, (0, 0), 3)
    return float(np.asarray(fine)[where].std())


# The rim of seed 3 is thinner than its blurred edges.
@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5, 6])
def test_air_is_darker_and_smoother_than_the_lung_beside_it(seed: int) -> None:
    rng = np.random.default_rng([9, seed])
    anatomy = draw_anatomy(rng)
    mask = np.logical_or.reduce(draw_pneumothorax(rng, anatomy, 1024))
    radiograph = draw_radiograph(rng, anatomy, 1024)
    plain = radiograph.image.copy()
    add_pneumothorax(rng, radiograph, mask)
    drawn, lungs = radiograph.image, in_lungs(radiograph)
    # The edges of mask and lungs count for neither.
    inner = grown(mask, -9)
    beside = grown(mask, 35) & ~grown(mask, 11) & grown(lungs, -9)
    assert inner.sum() > 50
    assert drawn[inner].mean() < drawn[beside].mean() - 0.01
    assert detail(drawn, inner) < 0.75 * detail(drawn, beside)
    assert (drawn[inner] <= plain[inner]).all(), "air takes away, everywhere in the mask"
    np.testing.assert_array_equal(drawn[~grown(mask, 6)], plain[~grown(mask, 6)])


def test_a_bright_line_bounds_the_air_towards_the_lung_alone() -> None:
    rng = np.random.default_rng(4)
    anatomy = draw_anatomy(rng)
    radiograph = draw_radiograph(rng, anatomy, 768)
    lungs = in_lungs(radiograph)
    # A rim of air in the upper half of the right lung: the rest of the lung lies within.
    mask = lungs & ~grown(lungs, -25)
    mask[300:] = mask[:, 384:] = False
    plain = radiograph.image.copy()
    add_pneumothorax(rng, radiograph, mask)
    brighter = radiograph.image - plain > 0.04
    assert brighter.sum() > 200
    assert not (brighter & grown(mask, -2)).any()
    at_wall = ~lungs & grown(mask, 4)
    assert brighter[at_wall].mean() < 0.02
    line = grown(mask, 2) & ~mask & grown(lungs, -20)
    assert brighter[line].mean() > 0.9


def test_pneumothoraces_differ_in_place_and_size() -> None:
    sides, parts, shares, tops = set(), [], [], []
    for seed in range(60):
        rng = np.random.default_rng([1, seed])
        anatomy = draw_anatomy(rng)
        masks = draw_pneumothorax(rng, anatomy, 256)
        lungs = {side: filled([anatomy.lungs[side]], 256) > 127 for side in SIDES}
        assert masks
        for mask in masks:
            assert mask.any()
            assert not (mask & ~(lungs[-1] | lungs[1])).any()
        whole = np.logical_or.reduce(masks)
        sides |= {side for side in SIDES if (whole & lungs[side]).any()}
        parts.append(len(masks))
        shares.append(whole.mean())
        tops.append(np.nonzero(whole)[0].mean() / 256)
    assert sides == set(SIDES)
    assert {1, 2} <= set(parts) <= {1, 2, 3}
    assert 0.65 < np.mean(np.array(parts) == 1) < 0.95
    assert min(shares) < 0.008
    assert max(shares) > 0.04
    assert min(tops) < 0.3
    assert max(tops) > 0.6


def test_a_patient_is_moved_to_a_given_mask() -> None:
    mask = np.zeros((1024, 1024), bool)
    # An apex where hardly a patient has one.
    cv2.ellipse(canvas := mask.astype(np.uint8), (340, 250), (70, 40), 0, 180, 360, 1, -1)
    mask = canvas > 0
    before: list[tuple[float, float]] = []
    after: list[tuple[float, float]] = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        anatomy = draw_anatomy(rng)
        for moved, shares in ((anatomy, before), (fit_anatomy(rng, anatomy, mask), after)):
            inside = filled(moved.lungs.values(), 1024) > 127
            above = np.roll(mask, -60, axis=0) & ~mask
            shares.append((inside[mask].mean(), (~inside)[above].mean()))
    inside_before, wall_before = np.mean(before, axis=0)
    inside_after, wall_after = np.mean(after, axis=0)
    assert inside_after > 0.85
    assert wall_after > max(0.4, wall_before), "above the mask there is the chest wall"
    assert inside_before > 0


def test_a_mask_beyond_the_lungs_is_dark_too() -> None:
    rng = np.random.default_rng(2)
    radiograph = draw_radiograph(rng, draw_anatomy(rng), 512)
    mask = np.zeros((512, 512), bool)
    mask[400:440, 180:330] = True
    assert radiograph.image[mask].mean() > 0.6, "here lies the liver"
    add_pneumothorax(rng, radiograph, mask)
    assert radiograph.image[mask].mean() < 0.4


@pytest.mark.parametrize("size", [16, 64, 100])
def test_small_films_can_be_drawn(size: int) -> None:
    rng = np.random.default_rng(3)
    anatomy = draw_anatomy(rng)
    radiograph = draw_radiograph(rng, anatomy, size)
    mask = np.zeros((size, size), bool)
    mask[0, 0] = mask[size // 3, size // 3] = True
    add_pneumothorax(rng, radiograph, mask)
    assert radiograph.image.shape == (size, size)
