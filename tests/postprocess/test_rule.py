"""Decision rules: each step on its own, all of them in order, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from raycxr.postprocess.rule import DecisionRule, apply_rules

HALF = DecisionRule(threshold=0.5)


def film(*rows: str) -> NDArray[np.float32]:
    """Probabilities (1, H, W), a digit for each tenth."""
    return np.array([[[int(digit) / 10 for digit in row] for row in rows]], np.float32)


def text(mask: NDArray[np.bool_]) -> list[str]:
    return ["".join("#" if pixel else "." for pixel in row) for row in mask]


def test_a_probability_equal_to_the_threshold_does_not_count() -> None:
    masks = apply_rules([HALF, DecisionRule(threshold=0.1)], np.repeat(film("256"), 2, axis=0))
    assert masks.dtype == np.bool_
    assert [text(mask) for mask in masks] == [["..#"], ["###"]]
    # 0.7 in float32 lies below 0.7 in float64.
    assert not apply_rules([DecisionRule(threshold=0.7)], np.full((1, 1, 1), 0.7, np.float32)).any()


def test_a_triplet_keeps_a_mask_only_where_enough_of_it_is_sure() -> None:
    probabilities = film("9840", "4400")
    rule = DecisionRule(top=0.7, area=0.25, bottom=0.3)
    assert text(apply_rules([rule], probabilities)[0]) == ["###.", "##.."]
    assert not apply_rules([rule.model_copy(update={"area": 0.26})], probabilities).any()
    # A probability equal to top does not lie above it.
    assert not apply_rules([rule.model_copy(update={"top": 0.8})], probabilities).any()
    assert apply_rules([DecisionRule(top=0.9, area=0.0, bottom=0.3)], probabilities).any()


def test_an_area_is_a_share_at_every_size() -> None:
    probabilities = film("9840", "4400")
    rule = DecisionRule(top=0.7, area=0.25, bottom=0.3, min_area=0.25)
    larger = probabilities.repeat(3, axis=1).repeat(3, axis=2)
    assert np.array_equal(
        apply_rules([rule], larger), apply_rules([rule], probabilities).repeat(3, axis=1).repeat(3, axis=2)
    )


def test_the_image_gate_empties_films_below_it() -> None:
    rules = [HALF.model_copy(update={"image_threshold": 0.4}), HALF.model_copy(update={"image_threshold": 0.3})]
    probabilities = np.repeat(film("99"), 2, axis=0)
    masks = apply_rules(rules, probabilities, np.array([0.39, 0.3], np.float32))
    assert [mask.any() for mask in masks] == [False, True]
    with pytest.raises(ValueError, match="image head"):
        apply_rules(rules, probabilities)


def test_the_most_probable_class_with_the_background_first() -> None:
    rules = [DecisionRule(), DecisionRule(components=1)]
    probabilities = np.stack([film("50443")[0], film("31333")[0], film("28335")[0]])
    masks = apply_rules(rules, probabilities)
    assert [text(mask) for mask in masks] == [["....."], [".#..."]]
    with pytest.raises(ValueError, match="2 rules for probabilities"):
        apply_rules(rules, probabilities[:2])
    with pytest.raises(ValueError, match="for all classes or for none"):
        apply_rules([DecisionRule(), HALF], probabilities)


def test_components_by_size_and_number() -> None:
    probabilities = film("99009", "00900", "00000", "90099")
    # Three pixels that touch at a corner, then two, then twice one of which the upper comes first.
    for most, expected in {
        1: ["##...", "..#..", ".....", "....."],
        2: ["##...", "..#..", ".....", "...##"],
        3: ["##..#", "..#..", ".....", "...##"],
        9: ["##..#", "..#..", ".....", "#..##"],
    }.items():
        assert text(apply_rules([DecisionRule(threshold=0.5, components=most)], probabilities)[0]) == expected
    two_pixels = DecisionRule(threshold=0.5, min_area=0.1)
    assert text(apply_rules([two_pixels], probabilities)[0]) == ["##...", "..#..", ".....", "...##"]
    both = DecisionRule(threshold=0.5, min_area=0.1, components=1)
    assert text(apply_rules([both], probabilities)[0]) == ["##...", "..#..", ".....", "....."]


def test_holes_are_filled_after_components_were_chosen() -> None:
    probabilities = film("09990", "09090", "09990", "00000", "99900")
    filled = DecisionRule(threshold=0.5, fill_holes=True)
    assert text(apply_rules([filled], probabilities)[0]) == [".###.", ".###.", ".###.", ".....", "###.."]
    # Filled first, the ring would have nine pixels all the same; a speck in its middle would have become part of it.
    one = filled.model_copy(update={"components": 1})
    assert text(apply_rules([one], probabilities)[0]) == [".###.", ".###.", ".###.", ".....", "....."]


@given(arrays.arrays(np.int64, (7, 8), elements=st.integers(0, 2)))
def test_classes_that_exclude_each_other_do_so_after_their_holes_are_filled(labels: NDArray[np.int64]) -> None:
    probabilities = np.stack([labels == number for number in range(3)]).astype(np.float32)
    outer, inner = apply_rules([DecisionRule(fill_holes=True)] * 2, probabilities)
    assert not (outer & inner).any()
    assert np.array_equal(outer[labels > 0], labels[labels > 0] == 1)
    assert np.array_equal(inner[labels > 0], labels[labels > 0] == 2)


def test_a_ring_in_a_ring() -> None:
    labels = np.zeros((5, 5), int)
    labels[:], labels[1:4, 1:4], labels[2, 2] = 1, 2, 0
    probabilities = np.stack([labels == number for number in range(3)]).astype(np.float32)
    outer, inner = apply_rules([DecisionRule(fill_holes=True)] * 2, probabilities)
    assert outer[2, 2]
    assert np.array_equal(inner, labels == 2)


@given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=3, max_dims=3), elements=st.floats(0, 1, width=32)),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_choosing_components_adds_nothing_and_repeats(probabilities: NDArray[np.float32], most: int) -> None:
    plain = apply_rules([HALF] * len(probabilities), probabilities)
    rule = DecisionRule(threshold=0.5, components=most)
    chosen = apply_rules([rule] * len(probabilities), probabilities)
    assert not (chosen & ~plain).any()
    assert np.array_equal(apply_rules([rule] * len(probabilities), chosen.astype(np.float32)), chosen)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (HALF, "p > 0.5"),
        (
            DecisionRule(top=0.75, area=0.0019, bottom=0.3, image_threshold=0.2),
            "p > 0.3 if 0.0019 of the film has p > 0.75, empty if the image has p < 0.2",
        ),
        (
            DecisionRule(min_area=0.01, components=2, fill_holes=True),
            "most probable class, components from 0.01 of the film on, 2 largest components, holes filled",
        ),
    ],
)
def test_a_rule_survives_json_and_can_be_read(rule: DecisionRule, words: str) -> None:
    assert DecisionRule.model_validate_json(rule.model_dump_json(exclude_none=True)) == rule
    assert str(rule) == words


@pytest.mark.parametrize(
    "values",
    [
        {"top": 0.2, "area": 0.1, "bottom": 0.3},
        {"top": 0.5, "bottom": 0.3},
        {"threshold": 0.5, "top": 0.5, "area": 0.1, "bottom": 0.3},
        {"top": 0.5, "area": 1.1, "bottom": 0.3},
        {"threshold": 0.5, "components": 0},
        {"threshold": 0.5, "componets": 2},
    ],
)
def test_what_is_no_rule(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DecisionRule.model_validate(values)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="1 rules for probabilities"):
        apply_rules([HALF], np.zeros((2, 3, 3), np.float32))
    with pytest.raises(ValueError, match="1 rules for image probabilities"):
        apply_rules([HALF], np.zeros((1, 3, 3), np.float32), np.zeros(2, np.float32))
