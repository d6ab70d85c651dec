from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from raycxr.sources.film import Film, Source
from raycxr.sources.montgomery import MontgomerySource
from raycxr.sources.shenzhen import ShenzhenSource
from raycxr.sources.synth_tb import draw_tb_film, write_montgomery, write_shenzhen, write_tb_mirror
from raycxr.sources.synth_writer import SynthSummary, chosen_before, spread
from raycxr.sources.tb_mirror import TbMirrorSource
from raycxr.storage.location import Location
from raycxr.xray.mask import binarise
from raycxr.xray.picture import decode_picture


def ignore(done: int, total: int) -> None:
    """No progress to show."""


def masks_of(film: Film) -> list[NDArray[np.bool_]]:
    return [binarise(decode_picture(Path(part.uri).read_bytes())) for part in film.parts]


def check_films(source: Source, films: tuple[Film, ...]) -> None:
    """Lungs are dark and of the film's size, and no two films are equal."""
    seen = set()
    for film in films:
        pixels = source.decode(film, Path(film.uri).read_bytes()).pixels
        seen.add(pixels.tobytes())
        if film.annotated:
            lungs = np.logical_or.reduce(masks_of(film))
            assert pixels.shape == lungs.shape
            assert 0.1 < lungs.mean() < 0.5
            assert pixels[lungs].mean() < 0.8 * pixels[~lungs].mean()
    assert len(seen) == len(films)


def test_the_chosen_are_spread_evenly() -> None:
    for chosen, total in ((58, 138), (336, 662), (96, 662), (2669, 12047)):
        flags = [spread(number, chosen, total) for number in range(total)]
        assert sum(flags) == chosen
        for start in range(0, total, 50):
            assert abs(sum(flags[:start]) - start * chosen / total) < 1
            assert sum(flags[:start]) == chosen_before(start, chosen, total)


def test_montgomery(tmp_path: Path) -> None:
    assert write_montgomery(Location(tmp_path), 15, 160, 0, ignore) == SynthSummary("montgomery", 15, 15)
    source = MontgomerySource(str(tmp_path))
    listing = source.list()
    assert listing.rejects == ()
    assert len(listing.films) == 15
    assert Counter(film.labels["tuberculosis"] for film in listing.films) == {0: 9, 1: 6}
    check_films(source, listing.films)
    shapes = set()
    for film in listing.films:
        stored = cv2.imread(film.uri, cv2.IMREAD_UNCHANGED)
        assert stored is not None
        assert stored.dtype == np.uint16
        assert 2500 < stored.max() <= 4095
        shapes.add(stored.shape)
        left, right = masks_of(film)
        assert not (left & right).any()
        assert np.nonzero(left)[1].mean() > np.nonzero(right)[1].mean(), "the patient's left is on the right"
        decoded = source.decode(film, Path(film.uri).read_bytes())
        assert decoded.pixel_mm == pytest.approx(0.0875 * 4892 / 160)
        reading = (tmp_path / "ClinicalReadings" / f"{film.id}.txt").read_text().splitlines()
        assert reading[0] in ("Patient's Sex: M", "Patient's Sex: F")
        assert reading[1].startswith("Patient's Age: 0")
        assert reading[1].endswith("Y")
        assert (reading[2] == "normal") == (film.labels["tuberculosis"] == 0)
    assert shapes == {(160, 131), (131, 160)}


def test_shenzhen(tmp_path: Path) -> None:
    assert write_shenzhen(Location(tmp_path), 16, 96, 0, ignore) == SynthSummary("shenzhen", 16, 14)
    source = ShenzhenSource(str(tmp_path))
    listing = source.list()
    assert listing.rejects == ()
    assert Counter(film.labels["tuberculosis"] for film in listing.films) == {0: 8, 1: 8}
    assert sum(film.annotated for film in listing.films) == 14
    assert sorted(path.name for path in (tmp_path / "mask").iterdir())[0] == "CHNCXR_0001_0_mask.png"
    check_films(source, listing.films)
    for film in listing.films:
        stored = cv2.imread(film.uri, cv2.IMREAD_UNCHANGED)
        assert stored is not None
        assert stored.shape[2:] == (3,)
        assert stored.dtype == np.uint8
        assert max(stored.shape) == 96


def test_the_mirror_holds_films_of_both_sets(tmp_path: Path) -> None:
    mirror, montgomery, shenzhen = (tmp_path / name for name in ("mirror", "montgomery", "shenzhen"))
    assert write_tb_mirror(Location(mirror), 13, 96, 3, ignore) == SynthSummary("tb-mirror", 13, 12)
    write_montgomery(Location(montgomery), 2, 96, 3, ignore)
    write_shenzhen(Location(shenzhen), 11, 96, 3, ignore)
    assert {path.name for path in mirror.iterdir()} == {"CXR_png", "masks"}
    source = TbMirrorSource(str(mirror))
    listing = source.list()
    assert listing.rejects == ()
    assert Counter(film.id[:6] for film in listing.films) == {"MCUCXR": 2, "CHNCXR": 11}
    assert sum(film.annotated for film in listing.films) == 12
    check_films(source, listing.films)
    for film in listing.films:
        genuine = montgomery if film.id.startswith("MCUCXR") else shenzhen
        assert Path(film.uri).read_bytes() == (genuine / "CXR_png" / f"{film.id}.png").read_bytes()
    masks = {path.name for path in (mirror / "masks").iterdir()}
    assert all(name.endswith("_mask.png") == name.startswith("CHNCXR") for name in masks)


def test_tuberculosis_can_be_seen() -> None:
    """The same patient is brighter in the upper half of a lung with the disease, and nowhere darker by much."""
    more = []
    for seed in range(12):
        well = draw_tb_film(np.random.default_rng(seed), False, 200, 200)
        upper = np.logical_or.reduce(list(well.lungs.values()))
        upper[np.nonzero(upper)[0].mean().astype(int) :] = False
        sick = draw_tb_film(np.random.default_rng(seed), True, 200, 200)
        assert (well.reading == "normal", "active TB" in sick.reading) == (True, True)
        np.testing.assert_array_equal(well.lungs["left lung"], sick.lungs["left lung"])
        more.append(sick.image[upper].std() - well.image[upper].std())
    assert np.mean(more) > 0.01


def test_films_keep_the_proportions_of_the_body() -> None:
    for height, width in ((200, 160), (160, 200)):
        ratios = []
        for seed in range(6):
            lungs = draw_tb_film(np.random.default_rng(seed), False, height, width).lungs
            rows, columns = np.nonzero(np.logical_or.reduce(list(lungs.values())))
            ratios.append(np.ptp(columns) / np.ptp(rows))
        assert 0.85 < np.mean(ratios) < 1.2
