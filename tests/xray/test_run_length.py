from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from raycxr.errors import DataError
from raycxr.xray.run_length import RunLengths, decode_run_lengths, encode_run_lengths

DATA = os.environ.get("RAYCXR_DATA", "")
Form = Literal["relative", "absolute"]
masks = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def decoded_pixel_by_pixel(text: str, height: int, width: int, form: Form) -> NDArray[np.bool_]:
    """The definitions of the competitions, literally."""
    mask = np.zeros((height, width), dtype=bool)
    numbers = list(map(int, text.split()))
    position = 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        position = position + start if form == "relative" else start - 1
        for _ in range(length):
            mask[position % height, position // height] = True
            position += 1
    return mask


@pytest.mark.parametrize("form", ["relative", "absolute"])
@given(mask=masks)
def test_every_mask_comes_back(form: Form, mask: NDArray[np.bool_]) -> None:
    text, (height, width) = encode_run_lengths(mask, form), mask.shape
    np.testing.assert_array_equal(decode_run_lengths(text, height, width, form), mask)
    np.testing.assert_array_equal(RunLengths(text, height, width, form).decode(), mask)
    if text != "-1":
        np.testing.assert_array_equal(decoded_pixel_by_pixel(text, height, width, form), mask)


@given(
    runs=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=8),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_every_relative_code_is_read_as_defined_or_refused(runs: list[tuple[int, int]], size: tuple[int, int]) -> None:
    text = " ".join(f"{start} {length}" for start, length in runs)
    if sum(map(sum, runs)) > size[0] * size[1]:
        with pytest.raises(DataError, match="run lengths reach pixel"):
            decode_run_lengths(text, *size)
    else:
        np.testing.assert_array_equal(decode_run_lengths(text, *size), decoded_pixel_by_pixel(text, *size, "relative"))


@given(text=st.text(alphabet="0123456789 -+.e\tx\u0663", max_size=40))
def test_any_text_is_a_mask_or_one_clear_error(text: str) -> None:
    try:
        mask = decode_run_lengths(text, 7, 5)
    except DataError as error:
        if "\n" in error.message:
            raise AssertionError(error.message) from None
    else:
        assert mask.shape == (7, 5)


def test_runs_at_the_first_and_the_last_pixel() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[0, 0] = mask[2, 3] = True
    assert encode_run_lengths(mask) == "0 1 10 1"
    assert encode_run_lengths(mask, "absolute") == "1 1 12 1"
    assert encode_run_lengths(np.ones((3, 4), dtype=bool)) == "0 12"
    assert encode_run_lengths(np.zeros((3, 4), dtype=bool)) == "-1"


@pytest.mark.parametrize("text", ["-1", " -1", "", "  "])
def test_empty_masks(text: str) -> None:
    assert not decode_run_lengths(text, 4, 4).any()


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("1 2 3", "relative", "3 numbers, pairs were expected"),
        ("1 0", "relative", "a run of 0 pixels"),
        ("3 2 -1 4", "relative", "run 2 begins before the end"),
        ("1 3 3 2", "absolute", "run 2 begins before the end"),
        ("0 3", "absolute", "run 1 begins before"),
        ("10 7", "relative", "reach pixel 17 of 16"),
        ("1 99999999999999999999", "relative", "no whole number"),
        ("1 two", "relative", "'two', which is no whole number"),
    ],
)
def test_bad_codes_are_refused(text: str, form: Form, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_run_lengths(text, 4, 4, form)


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is not set")
def test_all_masks_of_the_competition_come_back() -> None:
    path = Path(DATA) / "siim" / "siim-pneumothorax-train-rle.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = [row[1].strip() for row in csv.reader(file)][1:]
    texts = [row for row in rows if row != "-1"]
    assert len(texts) == 3576
    for text in texts:
        mask = decode_run_lengths(text, 1024, 1024)
        again = encode_run_lengths(mask)
        np.testing.assert_array_equal(decode_run_lengths(again, 1024, 1024), mask)
        # Nothing but the numbers tells, so that a decoder and an encoder with the same mistake would be found.
        assert mask.sum() == sum(map(int, text.split()[1::2]))
        assert again.split() == text.split()
