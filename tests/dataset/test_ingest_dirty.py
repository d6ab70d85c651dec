"""Ingest over dirty archives: every bad film is rejected with its reason, and every good one is there."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import pyarrow.parquet
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import UID, ExplicitVRLittleEndian

from raycxr.config.load import load_config
from raycxr.config.sections import Config
from raycxr.dataset.convert import Rules
from raycxr.dataset.films import Films, open_splits, shard_paths
from raycxr.dataset.ingest import IngestSummary, ingest, run_here
from raycxr.dataset.manifest import read_index, read_manifest, read_rejects
from raycxr.dataset.plan import ShardPlan
from raycxr.dataset.shard import open_verified
from raycxr.dataset.shard_task import write_shard
from raycxr.errors import DataError, StorageError
from raycxr.sources.patient_key import KEY_VARIABLE
from raycxr.sources.synth import write_pairs
from raycxr.storage.local import replacing
from raycxr.storage.location import Location
from raycxr.xray.dicom_encode import DicomHeader, encode_dicom
from raycxr.xray.picture import encode_png

CheckWhole = Callable[[Location, Collection[str], int], None]
Grey = NDArray[np.uint8]

FILMS = 6
SIDE = 64
PAIRS = [f"phantom{number:04d}" for number in range(1, FILMS + 1)]
DICOMS = [f"1.2.{number}" for number in range(1, FILMS + 1)]
# A gradient: no two rows or columns are equal, so that a wrong turn or a wrong half would show.
PICTURE = np.add.outer(3 * np.arange(SIDE), np.arange(SIDE)).astype(np.uint8)
# What must not be found anywhere after an ingest of films that say so about their patient.
IDENTITY = {"PatientName": "Doe^Jane", "PatientID": "MRN-47110815", "PatientBirthDate": "19560412"}
SECRETS = (b"Doe^", b"Jane", b"47110815", b"19560412")


@pytest.fixture(scope="session")
def pair_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "set"
    write_pairs(Location(folder), FILMS, SIDE, 0, lambda done, total: None)
    return folder


@pytest.fixture
def pairs(pair_phantoms: Path, tmp_path: Path) -> Path:
    """Folder `images` and folder `masks` with six good films."""
    return Path(shutil.copytree(pair_phantoms, tmp_path / "set"))


@pytest.fixture
def dicoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder `films` with six good films, every second with a mask, and the table `rle.csv`."""
    monkeypatch.setenv(KEY_VARIABLE, "a key for tests alone")
    folder = tmp_path / "set"
    rows = []
    for number, name in enumerate(DICOMS):
        plant(folder / "films" / f"series{number}" / f"{name}.dcm", dicom_film(np.roll(PICTURE, number, 0)))
        rows.append(f"{name}, {'2048 500 524 500' if number % 2 else '-1'}")
    (folder / "rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows, ""]))
    return folder


def plant(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def add_row(folder: Path, row: str) -> None:
    with (folder / "rle.csv").open("a") as table:
        table.write(row + "\n")


def configure(folder: Path, *overrides: str) -> Config:
    if (folder / "rle.csv").exists():
        source = f"source: siim-dicom, images: {folder}/films, masks: {folder}/rle.csv"
    else:
        source = f"source: pairs, images: {folder}/images, masks: {folder}/masks"
    path = folder.parent / "ingest.yaml"
    path.write_text(f"ingest: {{{source}, size: 32, shard_films: 3, out: {folder.parent}/out}}\n")
    return load_config(path, overrides)


def run(config: Config) -> IngestSummary:
    return ingest(config, run_here, lambda done, total: None)


def rejected(folder: Path) -> dict[str, tuple[str, str]]:
    """Reason and detail of what was rejected, by its name below the data set."""
    rows = read_rejects(Location(folder.parent / "out"))
    return {row["original"].removeprefix(f"{folder}/"): (row["reason"], row["detail"]) for row in rows}


def jpeg(picture: Grey) -> bytes:
    return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def pillow(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def colours() -> NDArray[np.uint8]:
    return np.dstack([PICTURE, PICTURE // 2, PICTURE])


def palette(grey: bool) -> bytes:
    picture = Image.fromarray(PICTURE).quantize(256) if grey else Image.fromarray(colours()).quantize(64)
    assert picture.mode == "P"
    return pillow(picture)


def with_alpha(lowest: int) -> bytes:
    opacity = np.full_like(PICTURE, 255)
    opacity[0, 0] = lowest
    return pillow(Image.fromarray(np.dstack([PICTURE] * 3 + [opacity])))


def dicom_film(pixels: Grey, **elements: object) -> bytes:
    """JPEG baseline as SIIM-ACR has it, with an identity and other elements instead of its own."""
    header = DicomHeader(
        "1.2.3", "1.2.3.4", "1.2.3.4.5", IDENTITY["PatientID"], IDENTITY["PatientName"], "F", 68, "PA", 0.2
    )
    return changed(encode_dicom(pixels, header), PatientBirthDate=IDENTITY["PatientBirthDate"], **elements)


def plain_film(pixels: NDArray[Any], **elements: object) -> bytes:
    """Uncompressed film."""
    return changed(dicom_film(PICTURE), **{"PixelData": pixels.tobytes(), "syntax": ExplicitVRLittleEndian, **elements})


def changed(data: bytes, **elements: object) -> bytes:
    film = pydicom.dcmread(io.BytesIO(data))
    film.file_meta.TransferSyntaxUID = UID(str(elements.pop("syntax", film.file_meta.TransferSyntaxUID)))
    film["PixelData"].is_undefined_length = film.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian
    for name, value in elements.items():
        if value is None:
            delattr(film, name)
        else:
            setattr(film, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, film, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def cut_frame() -> bytes:
    """A whole file whose JPEG frame lacks its second half."""
    frame = jpeg(PICTURE)
    return changed(dicom_film(PICTURE), PixelData=pydicom.encaps.encapsulate([frame[: len(frame) // 2]]))


BAD_PICTURES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "truncated.png": (lambda: encode_png(PICTURE)[:-60], "image_unreadable", "truncated"),
    "truncated.jpg": (lambda: jpeg(PICTURE)[:-200], "image_unreadable", "truncated"),
    "damaged.png": (lambda: encode_png(PICTURE).replace(b"IDAT", b"IDAX"), "image_unreadable", "damaged"),
    "empty.png": (lambda: b"", "image_unreadable", "empty file"),
    "text.png": (lambda: b"<html>404 not found</html>", "image_unreadable", "neither PNG, JPEG nor GIF"),
    "dicom.png": (lambda: dicom_film(PICTURE), "image_unreadable", "neither PNG, JPEG nor GIF"),
    "colours.png": (lambda: pillow(Image.fromarray(colours())), "image_unreadable", "coloured"),
    "colours.jpg": (lambda: pillow(Image.fromarray(colours()), "JPEG"), "image_unreadable", "coloured"),
    "palette.png": (lambda: palette(grey=False), "image_unreadable", "coloured"),
    "transparent.png": (lambda: with_alpha(254), "image_unreadable", "transparent"),
    "flat.png": (lambda: encode_png(np.full((SIDE, SIDE), 9, np.uint8)), "image_flat", "9"),
}  # fmt: skip
BAD_MASKS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "mask_unreadable", "empty file"),
    "truncated": (lambda: encode_png(PICTURE)[:-60], "mask_unreadable", "truncated"),
    "coloured": (lambda: pillow(Image.fromarray(colours())), "mask_unreadable", "coloured"),
    "wide": (lambda: encode_png(np.full((SIDE, 2 * SIDE), 255, np.uint8)), "mask_aspect", "128x64"),
}
BAD_DICOMS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "not_dicom", "empty file"),
    "text": (lambda: b"The film of Doe^Jane is in the other folder.\n" * 40, "not_dicom", "DICM"),
    "picture": (lambda: encode_png(PICTURE), "not_dicom", "DICM"),
    "cut_in_the_preamble": (lambda: dicom_film(PICTURE)[:100], "not_dicom", "DICM"),
    "cut_in_the_header": (lambda: dicom_film(PICTURE)[:400], "image_unreadable|no_pixel_data", "."),
    "cut_in_the_pixels": (lambda: dicom_film(PICTURE)[:-300], "image_unreadable", "truncated"),
    "cut_uncompressed": (lambda: plain_film(PICTURE)[:-300], "image_unreadable", "truncated"),
    "cut_frame": (cut_frame, "image_unreadable", "truncated"),
    "no_pixels": (lambda: changed(dicom_film(PICTURE), PixelData=None), "no_pixel_data", "PixelData"),
    "no_pixels_in_it": (lambda: plain_film(PICTURE, PixelData=b""), "no_pixel_data", "PixelData"),
    "video": (lambda: dicom_film(PICTURE, syntax="1.2.840.10008.1.2.4.100"), "unknown_syntax", "MPEG2"),
    "no_standard": (lambda: dicom_film(PICTURE, syntax="1.2.3.4711"), "unknown_syntax", "the standard does not know"),
    "frames": (lambda: plain_film(np.stack([PICTURE, PICTURE]), NumberOfFrames=2), "multi_frame", "2 frames"),
    "rgb": (
        lambda: plain_film(colours(), SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
        "coloured",
        "RGB",
    ),
    "size": (lambda: changed(dicom_film(PICTURE), Rows=32), "image_unreadable", "64x64 pixels, 64x32 are announced"),
    "flat": (lambda: plain_film(np.full_like(PICTURE, 7)), "image_flat", "7"),
    "huge": (lambda: plain_film(PICTURE, Rows=65535, Columns=65535), "image_unreadable", "65535x65535"),
    "text_for_numbers": (
        lambda: plain_film(PICTURE, WindowCenter="1", WindowWidth="2").replace(b"DS\x02\x001 ", b"DS\x02\x00Do"),
        "image_unreadable",
        "damaged",
    ),
}  # fmt: skip
BAD_RUN_LENGTHS = {
    "1048570 7": "reach pixel 1048577 of 1048576",
    "5 9223372036854775807 9223372036854775807 5": "reach pixel 9223372036854775807",
    "5 99999999999999999999": "is no whole number|reach pixel",
    "10 5 -3 4": "begins before the end",
    "10 5 7": "3 numbers",
    "10 0": "run of 0 pixels",
    "10 -5": "run of -5 pixels",
    "10 five": "'five'",
    "10 5.5": "'5.5'",
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture(pairs: Path, check_whole: CheckWhole, name: str) -> None:
    content, reason, detail = BAD_PICTURES[name]
    plant(pairs / "images" / name, content())
    summary = run(configure(pairs))
    assert (summary.images, summary.rejected) == (FILMS, 1)
    check_whole(Location(summary.dataset), PAIRS, FILMS + 1)
    found = rejected(pairs)[f"images/{name}"]
    assert found[0] == reason
    assert detail in found[1]


@pytest.mark.parametrize("name", BAD_MASKS)
def test_a_bad_mask(pairs: Path, check_whole: CheckWhole, name: str) -> None:
    content, reason, detail = BAD_MASKS[name]
    plant(pairs / "masks" / f"{PAIRS[1]}.png", content())
    summary = run(configure(pairs))
    check_whole(Location(summary.dataset), [film for film in PAIRS if film != PAIRS[1]], FILMS)
    ((original, found),) = rejected(pairs).items()
    assert original == ("images" if reason == "mask_aspect" else "masks") + f"/{PAIRS[1]}.png"
    assert found[0] == reason
    assert detail in found[1]


def test_pictures_of_every_kind_that_hold_the_same_film_are_read_alike(pairs: Path, check_whole: CheckWhole) -> None:
    """16 bits, palettes of grey, RGB and RGBA of equal channels: unusual, but nothing is wrong with them."""
    mask = np.where(PICTURE > 127, 255, 0).astype(np.uint8)
    films = {
        "grey": (encode_png(PICTURE), encode_png(mask)),
        "sixteen": (encode_png(PICTURE.astype(np.uint16) * 257), encode_png(mask.astype(np.uint16) * 257)),
        "palette": (palette(grey=True), pillow(Image.fromarray(mask).quantize(2))),
        "rgb": (pillow(Image.fromarray(np.dstack([PICTURE] * 3))), pillow(Image.fromarray(mask > 0))),
        "rgba": (with_alpha(255), encode_png(mask // 255)),
        "small": (encode_png(PICTURE), encode_png(cv2.resize(mask, (32, 32), interpolation=cv2.INTER_NEAREST))),
    }
    for name, (film, drawn) in films.items():
        plant(pairs / "images" / f"{name}.png", film)
        plant(pairs / "masks" / f"{name}.png", drawn)
    config = configure(pairs, "ingest.size=64")
    summary = run(config)
    check_whole(Location(summary.dataset), [*PAIRS, *films], FILMS + len(films))
    index = {row["id"]: row for row in read_index(Location(summary.dataset))}
    read = Films([index[name] for name in films], shard_paths(open_splits(config), None), None)
    images = {name: read[(0, row)][1:3] for row, name in enumerate(films)}
    for name in films:
        # 16 bits are brought to 8 in one step more, which may round otherwise; a palette of 256 colours loses nothing.
        assert np.abs(images[name][0].astype(int) - images["grey"][0]).max() <= 1, name
        if name != "small":
            assert np.array_equal(images[name][1], images["grey"][1]), name
    assert (index["small"]["mask_height"], index["small"]["height"]) == (32, 64)
    assert (images["small"][1] != images["grey"][1]).mean() < 0.05


@pytest.mark.parametrize("name", BAD_DICOMS)
def test_a_bad_dicom_film(dicoms: Path, check_whole: CheckWhole, name: str) -> None:
    content, reason, detail = BAD_DICOMS[name]
    plant(dicoms / "films" / f"{name}.dcm", content())
    add_row(dicoms, f"{name},-1")
    summary = run(configure(dicoms))
    check_whole(Location(summary.dataset), DICOMS, FILMS + 1)
    found = rejected(dicoms)[f"films/{name}.dcm"]
    assert found[0] in reason.split("|")
    assert any(one == "." or one in found[1] for one in detail.split("|")), found[1]


@pytest.mark.parametrize("text", BAD_RUN_LENGTHS)
def test_bad_run_lengths(dicoms: Path, check_whole: CheckWhole, text: str) -> None:
    plant(dicoms / "films" / "bad.dcm", dicom_film(PICTURE))
    add_row(dicoms, f"bad,5 5\nbad,{text}")
    summary = run(configure(dicoms))
    check_whole(Location(summary.dataset), DICOMS, FILMS + 1)
    ((original, found),) = rejected(dicoms).items()
    assert original == "rle.csv#bad"
    assert found[0] == "mask_unreadable"
    assert any(one in found[1] for one in BAD_RUN_LENGTHS[text].split("|")), found[1]


def test_rows_without_films_films_without_rows_and_names_twice(dicoms: Path, check_whole: CheckWhole) -> None:
    plant(dicoms / "films" / "unlisted.dcm", dicom_film(PICTURE))
    plant(dicoms / "films" / "zzz" / f"{DICOMS[2]}.dcm", dicom_film(255 - PICTURE))
    add_row(dicoms, "nowhere,5 5\nnowhere,20 5")
    summary = run(configure(dicoms))
    check_whole(Location(summary.dataset), DICOMS, FILMS + 3)
    assert {name: found[0] for name, found in rejected(dicoms).items()} == {
        "films/unlisted.dcm": "row_missing",
        f"films/zzz/{DICOMS[2]}.dcm": "duplicate_id",
        "rle.csv#nowhere": "image_missing",
    }
    # Which of the two counts does not depend on the file system's order of names.
    kept = next(row for row in read_index(Location(summary.dataset)) if row["id"] == DICOMS[2])
    assert kept["original"].endswith(f"series2/{DICOMS[2]}.dcm")


def test_one_name_with_two_endings_and_masks_without_films(pairs: Path, check_whole: CheckWhole) -> None:
    plant(pairs / "images" / f"{PAIRS[0]}.jpg", jpeg(PICTURE))
    plant(pairs / "masks" / "nowhere.png", encode_png(PICTURE))
    (pairs / "masks" / f"{PAIRS[3]}.png").unlink()
    summary = run(configure(pairs))
    check_whole(Location(summary.dataset), PAIRS, FILMS + 2)
    reasons = {name: found[0] for name, found in rejected(pairs).items()}
    assert sorted(reasons.values()) == ["duplicate_id", "image_missing"]
    assert reasons["masks/nowhere.png"] == "image_missing"
    # A film without a mask is a film that nobody has annotated.
    assert summary.manifest.counts.annotated == FILMS - 1


def test_folders_and_dangling_links_with_the_names_of_films(pairs: Path, check_whole: CheckWhole) -> None:
    (pairs / "images" / "folder.png").mkdir()
    (pairs / "images" / "link.png").symlink_to(pairs / "nowhere.png")
    summary = run(configure(pairs))
    check_whole(Location(summary.dataset), PAIRS, FILMS + 2)
    assert {name: found[0] for name, found in rejected(pairs).items()} == {
        "images/folder.png": "file_unreadable",
        "images/link.png": "file_missing",
    }


def test_everything_at_once(pairs: Path, check_whole: CheckWhole) -> None:
    """Whole shards of bad films, too."""
    for name, (content, _, _) in BAD_PICTURES.items():
        for copy in range(3):
            plant(pairs / "images" / f"bad{copy}{name}", content())
    config = configure(pairs)
    summary = run(config)
    check_whole(Location(summary.dataset), PAIRS, FILMS + 3 * len(BAD_PICTURES))
    assert len(summary.manifest.shards) == len(summary.manifest.masks) < FILMS + 3 * len(BAD_PICTURES)
    assert all(shard.rows for shard in summary.manifest.shards)
    splits = open_splits(config)
    read = Films(read_index(splits.location), shard_paths(splits, None), None)
    assert [read[(0, row)][0] for row in range(FILMS)] == PAIRS


def test_bad_films_that_come_later_and_good_ones_after_them(pairs: Path, check_whole: CheckWhole) -> None:
    first = run(configure(pairs))
    plant(pairs / "images" / "bad.png", b"")
    second = run(configure(pairs))
    assert (second.id, second.images, second.rejected, second.skipped) == (first.id, FILMS, 1, FILMS)
    check_whole(Location(second.dataset), PAIRS, FILMS + 1)
    again = run(configure(pairs))
    assert (again.manifest, again.rejected, again.skipped) == (second.manifest, 1, FILMS)
    check_whole(Location(again.dataset), PAIRS, FILMS + 1)
    plant(pairs / "images" / "bad.png", encode_png(PICTURE))
    mended = run(configure(pairs))
    check_whole(Location(mended.dataset), [*PAIRS, "bad"], FILMS + 1)
    assert (mended.rejected, mended.skipped) == (0, FILMS)
    plant(pairs / "images" / "new.png", encode_png(255 - PICTURE))
    grown = run(configure(pairs))
    check_whole(Location(grown.dataset), [*PAIRS, "bad", "new"], FILMS + 2)
    assert (grown.rejected, grown.skipped) == (0, FILMS + 1)


def test_growth_by_bad_films_alone_adds_no_shard(pairs: Path, check_whole: CheckWhole) -> None:
    first = run(configure(pairs))
    plant(pairs / "images" / "bad.png", b"")
    second = run(configure(pairs))
    assert (second.manifest.shards, second.manifest.masks) == (first.manifest.shards, first.manifest.masks)
    check_whole(Location(second.dataset), PAIRS, FILMS + 1)


def test_shards_follow_one_another_where_one_between_them_has_only_bad_films(
    pairs: Path, check_whole: CheckWhole
) -> None:
    config = configure(pairs, "ingest.shard_films=1")
    for name in PAIRS[1:3]:
        plant(pairs / "images" / f"{name}.png", b"")
    run(config)
    for name in ("later1", "later3"):
        plant(pairs / "images" / f"{name}.png", encode_png(PICTURE + len(name)))
    plant(pairs / "images" / "later2.png", b"")
    grown = run(config)
    good = [PAIRS[0], *PAIRS[3:], "later1", "later3"]
    check_whole(Location(grown.dataset), good, FILMS + 3)
    splits = open_splits(config)
    read = Films(read_index(splits.location), shard_paths(splits, None), None)
    assert [read[(0, row)][0] for row in range(len(good))] == good


def test_films_that_were_all_bad_and_are_mended(pairs: Path, check_whole: CheckWhole) -> None:
    films = {film: film.read_bytes() for film in (pairs / "images").iterdir()}
    for film in films:
        film.write_bytes(b"")
    with pytest.raises(DataError, match="all 6 films were rejected, 6 as image_unreadable"):
        run(configure(pairs))
    for film, content in films.items():
        film.write_bytes(content)
    check_whole(Location(run(configure(pairs)).dataset), PAIRS, FILMS)


@pytest.mark.parametrize(("column", "text"), [("ä".encode("latin-1"), "-1"), (b"1.2.1", "-1\xa0")])
def test_a_table_that_is_not_utf8_stops_with_one_line(dicoms: Path, column: bytes, text: str) -> None:
    with (dicoms / "rle.csv").open("ab") as table:
        table.write(column + b"," + text.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"rle\.csv is not UTF-8 text \(byte \d+\)") as caught:
        run(configure(dicoms))
    assert "\n" not in str(caught.value)
    assert not (dicoms.parent / "out").exists()


def test_names_that_are_not_utf8(pairs: Path, check_whole: CheckWhole) -> None:
    strange = bytes(pairs / "images") + b"/\xe4rm.png"
    with open(strange, "wb") as file:  # noqa: PTH123 (such a name is bytes)
        file.write(encode_png(PICTURE))
    summary = run(configure(pairs))
    check_whole(Location(summary.dataset), PAIRS, FILMS + 1)
    ((original, found),) = rejected(pairs).items()
    assert original == "images/\\xe4rm.png"
    assert found[0] == "unknown_name"


@pytest.mark.parametrize("order", ["forwards", "backwards", "four at a time"])
def test_the_number_of_workers_and_their_order_change_nothing(pairs: Path, order: str, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    plant(pairs / "images" / "bad.png", b"")

    def workers(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        if order == "four at a time":
            with ThreadPoolExecutor(4) as pool:
                yield from pool.map(lambda plan: next(iter(run_here([plan], rules, out))), reversed(plans))
        else:
            yield from run_here(plans[::-1] if order == "backwards" else plans, rules, out)

    overrides = ("ingest.shard_films=1",)
    whole = run(configure(pairs, *overrides, f"ingest.out={tmp_path}/whole"))
    found = ingest(configure(pairs, *overrides), workers, lambda done, total: None)
    assert found.id == whole.id
    for file in sorted((tmp_path / "whole").rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "out" / file.relative_to(tmp_path / "whole")).read_bytes(), file


def test_copies_lie_on_one_side_of_the_split_also_when_they_come_later(pairs: Path) -> None:
    split = "dataset.split={train: 4, validation: 4, test: 4}"
    run(configure(pairs, split))
    sides = {row["id"]: row["split"] for row in read_index(Location(pairs.parent / "out"))}
    assert len(set(sides.values())) == 3
    for film in PAIRS:
        # The same pixels in another file: as palette, with another name and so of another patient.
        picture = Image.open(pairs / "images" / f"{film}.png")
        plant(pairs / "images" / f"copy-{film}.png", pillow(picture.convert("RGB")))
    run(configure(pairs, split))
    rows = {row["id"]: row for row in read_index(Location(pairs.parent / "out"))}
    for film in PAIRS:
        assert rows[f"copy-{film}"]["pixels_sha256"] == rows[film]["pixels_sha256"]
        assert rows[f"copy-{film}"]["sha256"] != rows[film]["sha256"]
        assert rows[f"copy-{film}"]["split"] == rows[film]["split"] == sides[film]


@dataclass
class SmallDisk:
    """A folder with room for so many bytes: what goes beyond is written as far as it fits, and fails."""

    folder: Path
    size: int = 1 << 30

    def used(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())

    @contextmanager
    def replacing(self, path: Path) -> Iterator[Any]:
        with replacing(path) as file:
            yield _Full(self, file) if path.is_relative_to(self.folder) else file


@dataclass
class _Full:
    disk: SmallDisk
    file: IO[bytes]

    def write(self, data: bytes) -> int:
        left = max(self.disk.size - self.disk.used(), 0)
        self.file.write(data[:left])
        self.file.flush()
        if len(data) > left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallDisk:
    disk = SmallDisk(tmp_path / "disk")
    monkeypatch.setattr("raycxr.storage.local.replacing", disk.replacing)
    return disk


def test_a_full_disk_stops_with_one_line_and_a_later_call_goes_on(
    pairs: Path, small_disk: SmallDisk, check_whole: CheckWhole
) -> None:
    small_disk.size, disk = 25_000, small_disk.folder
    overrides = [f"ingest.out={disk}/out", "ingest.size=64", "ingest.codec=raw", "ingest.shard_films=2"]
    with pytest.raises(StorageError, match=rf"cannot write {disk}/out/\S+: no space left - free space") as caught:
        run(configure(pairs, *overrides))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="holds no finished data set"):
        read_manifest(Location(disk / "out"))
    assert not list(disk.rglob(".part-*"))
    small_disk.size = 1 << 20
    summary = run(configure(pairs, *overrides))
    assert summary.skipped >= 2
    check_whole(Location(disk / "out"), PAIRS, FILMS)


@pytest.mark.parametrize("left", [1_000, 2_000, 3_000, 4_000, 8_000, 13_500, 14_800, 16_000, 22_000])
def test_a_disk_that_is_full_when_a_data_set_grows(
    pairs: Path, small_disk: SmallDisk, check_whole: CheckWhole, left: int
) -> None:
    """Wherever the space ends, in a shard or in a table: what was published stays readable, and grows later."""
    disk = small_disk.folder
    overrides = [f"ingest.out={disk}/out"]
    later = pairs / "images" / f"{PAIRS[2]}.png"
    film = later.read_bytes()
    later.unlink()
    first = run(configure(pairs, *overrides))
    later.write_bytes(film)
    small_disk.size = small_disk.used() + left
    with pytest.raises(StorageError, match="no space left"):
        run(configure(pairs, *overrides))
    out = Location(disk / "out")
    assert read_manifest(out) == first.manifest
    assert [row["id"] for row in read_index(out)] == [name for name in PAIRS if name != PAIRS[2]]
    assert len(read_rejects(out)) == 1  # the mask of the film that came later
    assert not list(disk.rglob(".part-*"))
    small_disk.size = 1 << 20
    summary = run(configure(pairs, *overrides))
    assert summary.skipped >= FILMS - 1
    check_whole(Location(disk / "out"), PAIRS, FILMS)


# Python runs it wherever it starts, and so in the workers of a cluster, too.
NO_SPACE_FOR_SHARDS = """
import errno, os
from contextlib import contextmanager
from raycxr.storage import local

replacing = local.replacing

@contextmanager
def full(path):
    with replacing(path) as file:
        yield file
        if path.parent.name == "shards":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

local.replacing = full
"""


@pytest.mark.slow
def test_a_full_disk_on_a_cluster_is_told_as_in_one_process(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path / "full" / "sitecustomize.py", NO_SPACE_FOR_SHARDS.encode())
    overrides = [f"ingest.out={tmp_path}/out", "ingest.shard_films=2"]
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path / 'full'}:{Path.cwd()}")
        done = ingest_by_command(pairs, *overrides)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert (error["kind"], error["remedy"]) == ("storage", "free space or choose another place")
    assert error["message"].startswith(f"cannot write {tmp_path}/out/shards/")
    assert error["message"].endswith("no space left")
    assert json.loads(ingest_by_command(pairs, "--local", *overrides).stdout)["images"] == FILMS


def traces_of_identity(folder: Path) -> list[tuple[Path, bytes]]:
    """Files that hold a secret, in their bytes or in their tables."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pyarrow.parquet.read_table(path).to_pylist()).encode()
            content += repr(pyarrow.parquet.read_schema(path).metadata).encode()
        found += [(path, secret) for secret in SECRETS if secret.lower() in content.lower()]
    return found


def ingest_by_command(folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    configure(folder)
    code = "from raycxr.cli.main import main; main()"
    command = [sys.executable, "-c", code, "ingest", str(folder.parent / "ingest.yaml"), "--debug", "--json", *options]
    return subprocess.run(command, capture_output=True)


def plant_bad_dicoms(dicoms: Path) -> int:
    """Every kind of bad film, and some whose identity is in the wrong place or form."""
    damaged = {name: content() for name, (content, _, _) in BAD_DICOMS.items()}
    damaged |= {
        "long_identity": dicom_film(PICTURE, PatientID="MRN-47110815" * 9),
        "two_identities": dicom_film(PICTURE, PatientID=["MRN-47110815", "Jane"]),
        "unknown_letters": dicom_film(PICTURE, SpecificCharacterSet="ISO_IR 4711"),
        "birth_in_words": dicom_film(PICTURE).replace(b"19560412", b"Doe^Jane"),
        "identity_for_spacing": dicom_film(PICTURE).replace(b"0.2\\0.2 ", b"Doe^Jane"),
        "identity_for_photometric": dicom_film(PICTURE, PhotometricInterpretation="DOE JANE"),
        "identity_for_syntax": dicom_film(PICTURE).replace(b"1.2.840.10008.1.2.4.50", b"Doe^Jane".ljust(22, b"\0")),
        "identity_for_class": dicom_film(PICTURE).replace(b"MONOCHROME2", b"Doe^Jane^47"),
    }
    for name, content in damaged.items():
        plant(dicoms / "films" / f"{name}.dcm", content)
        add_row(dicoms, f"{name},-1")
    return len(damaged)


def test_no_identity_is_written_or_said(dicoms: Path) -> None:
    planted = plant_bad_dicoms(dicoms)
    assert b"Doe^Jane" in (dicoms / "films" / "series0" / f"{DICOMS[0]}.dcm").read_bytes()
    done = ingest_by_command(dicoms, "--local")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["images"] >= FILMS
    assert document["images"] + document["rejected"] == FILMS + planted
    assert not [secret for secret in SECRETS if secret.lower() in (done.stdout + done.stderr).lower()]
    assert traces_of_identity(dicoms.parent / "out") == []
    assert len({row["patient"] for row in read_index(Location(dicoms.parent / "out")) if row["id"] in DICOMS}) == 1


def test_no_identity_is_in_the_notes_of_a_killed_ingest(dicoms: Path) -> None:
    plant_bad_dicoms(dicoms)

    def killed(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        yield from run_here(plans, rules, out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(configure(dicoms), killed, lambda done, total: None)
    assert list((dicoms.parent / "out" / "parts").iterdir())
    assert traces_of_identity(dicoms.parent / "out") == []


def test_no_identity_is_said_where_nothing_can_be_published(dicoms: Path) -> None:
    """All films bad: the error names one of them."""
    shutil.rmtree(dicoms / "films")
    rows = ["ImageId,EncodedPixels"]
    for name, (content, _, _) in BAD_DICOMS.items():
        plant(dicoms / "films" / f"{name}.dcm", content())
        rows.append(f"{name},-1")
    (dicoms / "rle.csv").write_text("\n".join(rows))
    done = ingest_by_command(dicoms, "--local")
    assert done.returncode == 1
    assert b"films were rejected" in done.stderr
    assert not [secret for secret in SECRETS if secret.lower() in (done.stdout + done.stderr).lower()]
    assert traces_of_identity(dicoms.parent / "out") == []


@pytest.mark.slow
def test_a_dirty_archive_on_a_cluster(dicoms: Path, check_whole: CheckWhole, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as in one process, nothing of identity in Ray's own logs, and an error as it was raised there."""
    planted = plant_bad_dicoms(dicoms)
    local = run(configure(dicoms, f"ingest.out={dicoms.parent}/local"))
    ray_folder = Path(tempfile.mkdtemp(prefix="ray-"))  # names of sockets have at most 107 characters
    monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    try:
        done = ingest_by_command(dicoms)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["id"] == local.id
        check_whole(
            Location(dicoms.parent / "out"), [row["id"] for row in read_index(Location(local.dataset))], FILMS + planted
        )
        assert not [secret for secret in SECRETS if secret.lower() in (done.stdout + done.stderr).lower()]
        assert list(ray_folder.rglob("*.log"))
        assert traces_of_identity(dicoms.parent / "out") == traces_of_identity(ray_folder) == []
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)


def test_another_key_of_patients_is_refused(dicoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patients would get other hashes, and could come to lie on both sides of a split."""
    config = configure(dicoms)
    before = run(config)
    plant(dicoms / "films" / "late.dcm", dicom_film(PICTURE[::-1]))
    with (dicoms / "rle.csv").open("a") as table:
        table.write("late,-1\n")
    monkeypatch.setenv(KEY_VARIABLE, "another key of sufficient length")
    with pytest.raises(DataError, match="hashed with another key") as caught:
        run(config)
    assert KEY_VARIABLE in caught.value.remedy
    monkeypatch.setenv(KEY_VARIABLE, "a key for tests alone")
    assert run(config).images == before.images + 1


def test_files_of_somebody_else_are_never_deleted(pairs: Path) -> None:
    """Whoever names the folder of the source, which has a folder `masks`, as ingest.out keeps all masks."""
    before = sorted(path for path in pairs.rglob("*"))
    with pytest.raises(DataError, match="was written by no ingest") as caught:
        run(configure(pairs, f"ingest.out={pairs}"))
    assert "empty folder" in caught.value.remedy
    assert sorted(path for path in pairs.rglob("*")) == before
    config = configure(pairs)
    out = Path(run(config).dataset)
    for name in ("shards/note.txt", "masks/00000.parquet", "parts/thesis.json", "previous/thesis.txt"):
        plant(out / name, b"mine")
    plant(pairs / "images" / "new.png", encode_png(255 - PICTURE))
    run(config)
    for name in ("shards/note.txt", "masks/00000.parquet", "parts/thesis.json", "previous/thesis.txt"):
        assert (out / name).read_bytes() == b"mine"


def test_a_folder_that_vanishes_is_no_reason_to_reject_its_films(pairs: Path, check_whole: CheckWhole) -> None:
    config = configure(pairs)

    def unmounted(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        for plan in plans:
            yield write_shard(plan, rules, out)
            (pairs / "images").rename(pairs / "away")

    with pytest.raises(StorageError, match="images has vanished"):
        ingest(config, unmounted, lambda done, total: None)
    (pairs / "away").rename(pairs / "images")
    summary = run(config)
    assert summary.skipped == 3
    check_whole(Location(summary.dataset), PAIRS, FILMS)


def test_shards_that_are_lost_are_noticed(pairs: Path, check_whole: CheckWhole) -> None:
    config = configure(pairs)

    def killed(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        for plan in plans:
            yield write_shard(plan, rules, out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(config, killed, lambda done, total: None)
    out = pairs.parent / "out"
    next(out.glob("shards/00000-*")).unlink()
    next(out.glob("parts/00001-*.json")).write_text("garbage")
    summary = run(config)
    assert summary.skipped == 0
    check_whole(Location(out), PAIRS, FILMS)
    lost = next(out.glob("masks/00001-*"))
    lost.unlink()
    with pytest.raises(DataError, match=f"{lost.name} is missing"):
        run(config)


def test_of_two_ingests_at_once_the_slower_one_gives_way(pairs: Path, check_whole: CheckWhole) -> None:
    config = configure(pairs)

    def overtaken(plans: Sequence[ShardPlan], rules: Rules, out: Location) -> Iterator[dict[str, Any]]:
        yield write_shard(plans[0], rules, out)
        plant(pairs / "images" / "a new one.png", encode_png(255 - PICTURE))
        run(config)
        for plan in plans[1:]:
            yield write_shard(plan, rules, out)

    with pytest.raises(DataError, match="another ingest has published"):
        ingest(config, overtaken, lambda done, total: None)
    check_films(Location(pairs.parent / "out"), FILMS + 1)
    summary = run(config)
    assert (summary.images, summary.skipped) == (FILMS + 1, FILMS + 1)
    check_whole(Location(summary.dataset), ["a new one", *PAIRS], FILMS + 1)


def check_films(out: Location, count: int) -> None:
    """Every shard is there as the manifest names it."""
    manifest = read_manifest(out)
    assert sum(open_verified(out / shard.name, shard.sha256).metadata.num_rows for shard in manifest.shards) == count
