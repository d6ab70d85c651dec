"""Captions of the pictures of films."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from raycxr.evaluation.overlay import TILE, _font, _shortened

DRAW = ImageDraw.Draw(Image.fromarray(np.zeros((8, 8), np.uint8)))


@given(st.text("0123456789.", min_size=1, max_size=80), st.integers(60, TILE))
def test_a_name_fits_its_width_and_keeps_both_ends(name: str, width: int) -> None:
    shown = _shortened(DRAW, name, width, 15)
    assert DRAW.textlength(shown, _font(15)) <= width
    if DRAW.textlength(name, _font(15)) <= width:
        assert shown == name
    else:
        first, last = shown.split("…")
        assert name.startswith(first)
        assert name.endswith(last)
        assert abs(len(first) - len(last)) <= 1
