from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raycxr.errors import DataError
from raycxr.xray.raw import decode_raw, encode_raw


@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_raw_round_trip(image: np.ndarray) -> None:
    decoded = decode_raw(encode_raw(image), *image.shape)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, image)


def test_most_significant_byte_comes_first() -> None:
    assert decode_raw(b"\x01\x02\x00\x03", 1, 2).tolist() == [[0x0102, 3]]


@given(st.integers(0, 30).filter(lambda n: n != 12))
def test_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(DataError) as caught:
        decode_raw(bytes(length), 2, 3)
    assert ("truncated" if length < 12 else "too long") in caught.value.message
    assert f"{length} bytes" in caught.value.message
    assert "are 12" in caught.value.message


def test_default_geometry_is_that_of_jsrt() -> None:
    assert decode_raw(bytes(2 * 2048 * 2048)).shape == (2048, 2048)
