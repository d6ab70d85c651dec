"""The real films and masks list and decode."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from raycxr.sources.film import Film, Source
from raycxr.sources.jsrt import JsrtSource
from raycxr.sources.pairs import PairsSource
from raycxr.xray.anatomy import STRUCTURES
from raycxr.xray.intensity import IntensityRule
from raycxr.xray.mask import binarise
from raycxr.xray.picture import decode_picture

DATA = os.environ.get("RAYCXR_DATA", "")
pytestmark = pytest.mark.skipif(not DATA, reason="RAYCXR_DATA is unset: no real films")


def decode(source: Source, film: Film) -> np.ndarray:
    return source.decode(film, Path(film.uri).read_bytes()).pixels


@pytest.mark.parametrize("step", [30, pytest.param(1, marks=pytest.mark.slow)])
def test_all_jsrt_films_and_masks_decode(step: int) -> None:
    source = JsrtSource(f"{DATA}/jsrt/png256", f"{DATA}/jsrt/scr")
    listing = source.list()
    assert listing.rejects == ()
    assert len(listing.films) == 247
    assert Counter(film.labels["nodule"] for film in listing.films) == {1: 154, 0: 93}
    for film in listing.films[::step]:
        image, _ = IntensityRule().apply(decode(source, film))
        assert image.shape == (256, 256)
        masks = {part.structure: binarise(decode_picture(Path(part.uri).read_bytes())) for part in film.parts}
        assert list(masks) == list(STRUCTURES)
        assert all(mask.shape == (1024, 1024) and mask.any() for mask in masks.values())
        right, left = (np.nonzero(masks[name])[1].mean() for name in ("right lung", "left lung"))
        assert right < left


def test_the_inverted_copies_of_jsrt_are_turned_around() -> None:
    source = JsrtSource(f"{DATA}/jsrt/png128", f"{DATA}/jsrt/scr", inverted=True)
    listing = source.list()
    assert [(reject.reason, Path(reject.original).stem) for reject in listing.rejects] == [
        ("image_missing", "JPCLN122")
    ]
    assert len(listing.films) == 246
    sizes = Counter(decode(source, film).shape for film in listing.films)
    assert sizes == {(128, 128): 245, (288, 432): 1}
    upright = JsrtSource(f"{DATA}/jsrt/png256").list().films
    for inverted, other in zip(listing.films[:10], upright[:10], strict=True):
        assert inverted.id == other.id
        reduced = decode(source, other).reshape(128, 2, 128, 2).mean(axis=(1, 3))
        assert np.corrcoef(255 - reduced.ravel(), decode(source, inverted).ravel())[0, 1] > 0.8


def test_shenzhen_lists_as_pairs() -> None:
    source = PairsSource(f"{DATA}/shenzhen/CXR_png", f"{DATA}/shenzhen/masks", mask_suffix="_mask")
    listing = source.list()
    assert listing.rejects == ()
    assert Counter(film.annotated for film in listing.films) == {True: 566, False: 24}
    for film in [film for film in listing.films if film.annotated][::40]:
        mask = binarise(decode_picture(Path(film.parts[0].uri).read_bytes()))
        assert decode(source, film).shape == mask.shape == (512, 512)
        assert 0.05 < mask.mean() < 0.6
