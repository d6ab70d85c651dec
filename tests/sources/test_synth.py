from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from raycxr.errors import DataError
from raycxr.sources.film import Film, Source
from raycxr.sources.jsrt import JsrtSource
from raycxr.sources.pairs import PairsSource
from raycxr.sources.synth import LAYOUTS, jsrt_name
from raycxr.storage.location import Location
from raycxr.xray.mask import binarise
from raycxr.xray.picture import decode_picture

FILM_FOLDERS = {
    "jsrt": "All247images",
    "montgomery": "CXR_png",
    "pairs": "images",
    "shenzhen": "CXR_png",
    "siim-dicom": "dicom-images-train",
    "siim-png": "png_images",
    "tb-mirror": "CXR_png",
}


def write(layout: str, out: Path, count: int, size: int | None = 64, seed: int = 0) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    summary = LAYOUTS[layout](Location(out), count, size, seed, lambda done, total: steps.append((done, total)))
    assert (summary.layout, summary.images) == (layout, count)
    assert summary.with_mask == count or layout not in ("jsrt", "montgomery", "pairs")
    return steps


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pixels(source: Source, film: Film) -> np.ndarray:
    return source.decode(film, Path(film.uri).read_bytes()).pixels


def test_names_keep_the_proportion_of_the_original() -> None:
    names = [jsrt_name(number) for number in range(247)]
    assert Counter(name[:5] for name in names) == {"JPCLN": 154, "JPCNN": 93}
    assert len(set(names)) == 247
    assert {"JPCLN001", "JPCLN154", "JPCNN001", "JPCNN093"} <= set(names)
    assert {jsrt_name(247), jsrt_name(248)} == {"JPCLN155", "JPCNN094"}


def test_raw_jsrt_is_read_back_by_its_source(tmp_path: Path) -> None:
    assert write("jsrt", tmp_path, 2, size=None) == [(1, 2), (2, 2)]
    source = JsrtSource(str(tmp_path), str(tmp_path / "scr"))
    listing = source.list()
    assert [film.id for film in listing.films] == ["JPCLN001", "JPCNN001"]
    film = listing.films[0]
    assert Path(film.uri).stat().st_size == 2 * 2048 * 2048
    assert {Path(part.uri).parts[-4] for part in film.parts} == {"fold1"}
    image = pixels(source, film)
    assert image.max() <= 4095
    masks = {part.structure: binarise(decode_picture(Path(part.uri).read_bytes())) for part in film.parts}
    assert {mask.shape for mask in masks.values()} == {(1024, 1024)}
    small = image[::2, ::2]
    assert small[masks["left lung"]].mean() < 0.6 * small[masks["heart"]].mean()


def test_small_jsrt_is_png_as_displayed(tmp_path: Path) -> None:
    write("jsrt", tmp_path, 4)
    source = JsrtSource(str(tmp_path), str(tmp_path / "scr"), inverted=False)
    listing = source.list()
    assert listing.rejects == ()
    assert sorted(Path(film.uri).name for film in listing.films)[0] == "JPCLN001.png"
    folds = {film.id[-1]: Path(film.parts[0].uri).parts[-4] for film in listing.films}
    assert folds["1"] == "fold1"
    assert folds["2"] == "fold2"
    for film in listing.films:
        lung = binarise(decode_picture(Path(film.parts[1].uri).read_bytes()))
        heart = binarise(decode_picture(Path(film.parts[0].uri).read_bytes()))
        image = pixels(source, film)
        assert image.shape == lung.shape == (64, 64)
        assert image[lung].mean() < image[heart].mean()


def test_pairs_are_read_back_by_their_source(tmp_path: Path) -> None:
    write("pairs", tmp_path, 3)
    source = PairsSource(str(tmp_path / "images"), str(tmp_path / "masks"))
    listing = source.list()
    assert [(film.id, film.annotated) for film in listing.films] == [
        ("phantom0001", True),
        ("phantom0002", True),
        ("phantom0003", True),
    ]
    for film in listing.films:
        lungs = binarise(decode_picture(Path(film.parts[0].uri).read_bytes()))
        image = pixels(source, film)
        assert image.shape == lungs.shape == (64, 64)
        assert 0.15 < lungs.mean() < 0.45
        assert image[lungs].mean() < image[~lungs].mean()


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_film_depends_on_seed_and_number_alone(layout: str, tmp_path: Path) -> None:
    for name, count, seed in (("few", 3, 7), ("more", 5, 7), ("other", 3, 8)):
        write(layout, tmp_path / name, count, seed=seed)
    few, more = (hashes(tmp_path / name) for name in ("few", "more"))
    assert {name: hash for name, hash in few.items() if not name.endswith(".csv")}.items() <= more.items()
    films, others = (hashes(tmp_path / name / FILM_FOLDERS[layout]) for name in ("more", "other"))
    assert (len(films), len(others)) == (5, 3)
    assert len({*films.values(), *others.values()}) == 8, "no film is another one's copy"


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["pairs", "siim-dicom", "tb-mirror"])
def test_several_processes_write_what_one_does(layout: str, tmp_path: Path) -> None:
    assert write(layout, tmp_path / "many", 40) == [(done, 40) for done in range(1, 41)]
    write(layout, tmp_path / "one", 15)
    one, many = hashes(tmp_path / "one"), hashes(tmp_path / "many")
    table = one.pop("train-rle.csv", None)
    assert one.items() <= many.items()
    if table:
        rows = (tmp_path / "one" / "train-rle.csv").read_text()
        assert (tmp_path / "many" / "train-rle.csv").read_text().startswith(rows)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_folder_with_anything_in_it_is_left_alone(layout: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=f"{tmp_path} is not empty"):
        write(layout, tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_phantoms_in_a_bucket_are_read_back(s3: str) -> None:
    out = Location(s3) / "phantoms"
    summary = LAYOUTS["jsrt"](out, 3, 64, 0, lambda done, total: None)
    assert summary.images == 3
    source = JsrtSource(out.uri, (out / "scr").uri)
    listing = source.list()
    assert listing.rejects == ()
    assert [len(film.parts) for film in listing.films] == [5, 5, 5]
    film = listing.films[0]
    assert source.decode(film, Location(film.uri).read_bytes()).pixels.shape == (64, 64)
    with pytest.raises(DataError, match=f"no such folder: {out.uri}/nowhere"):
        JsrtSource(f"{out.uri}/nowhere").list()
    with pytest.raises(DataError, match=f"{out.uri} is not empty"):
        LAYOUTS["jsrt"](out, 3, 64, 0, lambda done, total: None)
