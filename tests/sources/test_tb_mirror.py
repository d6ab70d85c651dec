from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from raycxr.errors import DataError
from raycxr.sources.tb_mirror import TbMirrorSource

FILM = np.add.outer(np.arange(201), np.arange(245) // 8).astype(np.uint8)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / name), FILM)


def test_both_sets_with_their_own_names_of_masks(tmp_path: Path) -> None:
    films = ["CHNCXR_0001_0", "CHNCXR_0025_0", "CHNCXR_0327_1", "MCUCXR_0001_0", "MCUCXR_0104_1"]
    write(tmp_path, *(f"CXR_png/{name}.png" for name in films))
    write(tmp_path, "masks/CHNCXR_0001_0_mask.png", "masks/CHNCXR_0327_1_mask.png")
    write(tmp_path, "masks/MCUCXR_0001_0.png", "masks/MCUCXR_0104_1.png", "test/CHNCXR_0025_0.png")
    listing = TbMirrorSource(str(tmp_path)).list()
    assert listing.rejects == ()
    assert [film.id for film in listing.films] == films
    assert [film.annotated for film in listing.films] == [True, False, True, True, True]
    assert [film.labels["tuberculosis"] for film in listing.films] == [0, 0, 1, 0, 1]
    assert [film.source for film in listing.films] == ["shenzhen"] * 3 + ["montgomery"] * 2
    assert [Path(film.parts[0].uri).name for film in listing.films if film.parts] == [
        "CHNCXR_0001_0_mask.png",
        "CHNCXR_0327_1_mask.png",
        "MCUCXR_0001_0.png",
        "MCUCXR_0104_1.png",
    ]


def test_what_does_not_fit_together_is_rejected_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path, "CXR_png/MCUCXR_0001_0.png", "CXR_png/CHNCXR_0001_0.png", "CXR_png/JPCLN001.png")
    write(tmp_path, "masks/MCUCXR_0001_0.png", "masks/MCUCXR_0001_0_mask.png", "masks/CHNCXR_0001_0.png")
    write(tmp_path, "masks/MCUCXR_0002_0.png", "masks/CHNCXR_0009_0_mask.png")
    listing = TbMirrorSource(str(tmp_path)).list()
    assert [(film.id, film.annotated) for film in listing.films] == [("CHNCXR_0001_0", False), ("MCUCXR_0001_0", True)]
    assert {reject.original.removeprefix(f"{tmp_path}/"): reject.reason for reject in listing.rejects} == {
        "CXR_png/JPCLN001.png": "unknown_name",
        "masks/CHNCXR_0001_0.png": "unknown_name",
        "masks/MCUCXR_0001_0_mask.png": "unknown_name",
        "masks/MCUCXR_0002_0.png": "image_missing",
        "masks/CHNCXR_0009_0_mask.png": "image_missing",
    }


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no such folder: {tmp_path / 'nowhere'}") as caught:
        TbMirrorSource(str(tmp_path / "nowhere")).list()
    assert "MCUCXR_0001_0.png and CHNCXR_0001_0.png" in caught.value.remedy


@pytest.mark.parametrize("inverted", [False, True])
def test_only_montgomery_tells_its_pixel_distance(tmp_path: Path, inverted: bool) -> None:
    write(tmp_path, "MCUCXR_0001_0.png", "CHNCXR_0001_0.png")
    source = TbMirrorSource(str(tmp_path), inverted=inverted)
    shenzhen, montgomery = source.list().films
    for film, distance in ((shenzhen, None), (montgomery, pytest.approx(0.0875 * 4892 / 245))):
        decoded = source.decode(film, Path(film.uri).read_bytes())
        assert decoded.pixel_mm == distance
        np.testing.assert_array_equal(decoded.pixels, 255 - FILM if inverted else FILM)


def test_sources_travel_between_processes() -> None:
    source = TbMirrorSource("s3://films/tb", "s3://films/tb/masks", True)
    assert pickle.loads(pickle.dumps(source)) == source
