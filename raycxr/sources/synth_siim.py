"""Phantoms as the two forms of SIIM-ACR Pneumothorax Segmentation lie on disk."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from functools import partial

import numpy as np
from numpy.typing import NDArray

from raycxr.errors import DataError
from raycxr.sources.siim_dicom import MASK_SIDE, TABLE_COLUMNS
from raycxr.sources.siim_png import IMAGE_FOLDER, MASK_FOLDER, TABLES
from raycxr.sources.siim_png import TABLE_COLUMNS as NAME_COLUMNS
from raycxr.sources.synth_writer import (
    Progress,
    SynthSummary,
    chosen_before,
    eight_bits,
    encode_mask,
    require_empty,
    spread,
    write_films,
)
from raycxr.sources.table import read_table
from raycxr.storage.location import Location
from raycxr.xray.anatomy import Anatomy, draw_anatomy
from raycxr.xray.dicom_encode import DicomHeader, encode_dicom
from raycxr.xray.digital import add_noise, draw_radiograph
from raycxr.xray.markings import add_markings
from raycxr.xray.mask import resize_mask
from raycxr.xray.picture import encode_png
from raycxr.xray.pneumothorax import add_pneumothorax, draw_pneumothorax, fit_anatomy
from raycxr.xray.run_length import EMPTY, decode_run_lengths, encode_run_lengths

DICOM_FOLDER = "dicom-images-train"
RUN_LENGTH_TABLE = "train-rle.csv"
# SIIM-ACR has 2,669 films with a pneumothorax among 12,047, and the PNG mirror 1,372 in its test split.
_POSITIVE, _TEST, _FILMS = 2669, 1372, 12047
_FIELD_MM = 350.0
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_UID_LENGTH = 64

Mask = NDArray[np.bool_]


def write_siim_dicom(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write phantoms as the DICOM form of SIIM-ACR.

    Films lie at ``dicom-images-train/<study>/<series>/<instance>.dcm``, their masks in ``train-rle.csv`` (columns
    ``ImageId`` and ``EncodedPixels``, the second with a leading space): one row per mask, up to three of a film,
    relative run lengths in 1024x1024 pixels whatever the size of the films, ``-1`` where there is none. 22 % of the
    films have a pneumothorax. The table is written last.

    Parameters are those of `raycxr.sources.synth_jsrt.write_jsrt`; `size` is 1024 where None.
    """
    require_empty(out)
    write = partial(_write_dicom, out, size or MASK_SIDE, seed)
    rows = write_films(write, range(count), progress)
    _write_run_lengths(out, [row for film in rows for row in film])
    return SynthSummary("siim-dicom", count, chosen_before(count, _POSITIVE, _FILMS))


def write_siim_dicom_from_table(
    out: Location, table: Location, count: int | None, size: int | None, seed: int, progress: Progress
) -> SynthSummary:
    """Write phantoms with the names and the masks of a given table of run lengths.

    Every patient is placed so that the masks lie in the lungs as far as they can, and the pneumothorax is drawn
    exactly within them. ``train-rle.csv`` has the rows of the films that are written, in the order of the table.

    Parameters
    ----------
    table : Location
        Table of the competition, .csv or .csv.gz; masks have 1024x1024 pixels.
    count : int or None
        Write only the first `count` films of the table; None: all.
    out, size, seed, progress
        As in `write_siim_dicom`.

    Raises
    ------
    DataError
        If the folder holds anything, the table is damaged, or a name in it is no DICOM UID.
    """
    require_empty(out)
    rows = read_table(table, TABLE_COLUMNS)
    masks: defaultdict[str, list[str]] = defaultdict(list)
    for name, text in rows:
        masks[name].append(text)
    films = list(masks.items())[:count]
    for number, (name, _) in enumerate(films, start=1):
        # Not told: in another table than expected it may be the name of a patient.
        if not _UID.fullmatch(name) or len(name) > _UID_LENGTH:
            raise DataError(f"{table} names a film (number {number}) by no DICOM UID", "give the table of SIIM-ACR")
    write = partial(_write_dicom_over, out, size or MASK_SIDE, seed)
    annotated = write_films(write, [(number, *film) for number, film in enumerate(films)], progress)
    written = {name for name, _ in films}
    _write_run_lengths(out, [(name, text) for name, text in rows if name in written])
    return SynthSummary("siim-dicom", len(films), sum(annotated))


def write_siim_png(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write the films of `write_siim_dicom` as the PNG mirror of SIIM-ACR.

    Films lie in ``png_images/``, masks of the same names (``0_train_0_.png``: number in the split, split, label) and
    size in ``png_masks/``, and ``stage_1_train_images.csv`` and ``stage_1_test_images.csv`` name them. 11 % are in
    the test split. The tables are written last, the second where it has a row.

    Parameters are those of `raycxr.sources.synth_jsrt.write_jsrt`; `size` is 1024 where None.
    """
    require_empty(out)
    rows = write_films(partial(_write_png, out, size or MASK_SIDE, seed), range(count), progress)
    for split, table in TABLES.items():
        lines = [",".join(row) for row in rows if row[0].split("_")[1] == split]
        if lines:
            (out / table).write_text("\n".join([",".join(NAME_COLUMNS), *lines, ""]))
    return SynthSummary("siim-png", count, chosen_before(count, _POSITIVE, _FILMS))


def siim_uid(*identity: object) -> str:
    """Return a UID that depends on what it identifies alone: ``2.25.`` and a UUID as a number (PS3.5, B.2)."""
    name = " ".join(map(str, ("raycxr phantom", *identity)))
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def draw_siim_film(seed: int, number: int, size: int) -> tuple[NDArray[np.uint8], tuple[Mask, ...]]:
    """Draw film `number`, shape (size, size), with the masks of its pneumothorax, shape (1024, 1024) each."""
    rng = np.random.default_rng([seed, number])
    anatomy = _draw_patient(rng)
    masks: tuple[Mask, ...] = ()
    if spread(number, _POSITIVE, _FILMS):
        masks = draw_pneumothorax(rng, anatomy, MASK_SIDE)
    return _expose(rng, anatomy, masks, size), masks


def draw_siim_film_over(seed: int, number: int, masks: tuple[Mask, ...], size: int) -> NDArray[np.uint8]:
    """Draw film `number`, shape (size, size), with a pneumothorax in the masks given, shape (1024, 1024) each."""
    rng = np.random.default_rng([seed, number])
    anatomy = fit_anatomy(rng, draw_anatomy(rng), np.logical_or.reduce(masks)) if masks else _draw_patient(rng)
    return _expose(rng, anatomy, masks, size)


def _draw_patient(rng: np.random.Generator) -> Anatomy:
    """Draw a patient anywhere on the film: those placed to fit a mask must not differ from the others by that."""
    return draw_anatomy(rng).moved(tuple(rng.uniform((0.82, 0.88), 1.1)), tuple(rng.normal(0, 0.03, 2)))


def _expose(rng: np.random.Generator, anatomy: Anatomy, masks: tuple[Mask, ...], size: int) -> NDArray[np.uint8]:
    radiograph = draw_radiograph(rng, anatomy, size)
    if masks:
        field = np.logical_or.reduce(masks).astype(np.uint8)
        add_pneumothorax(rng, radiograph, resize_mask(field, size, size, 1) > 0)
    add_markings(rng, radiograph.image)
    add_noise(rng, radiograph.image)
    return eight_bits(radiograph.image)


def _write_dicom(out: Location, size: int, seed: int, number: int) -> list[tuple[str, str]]:
    """Write a film; return its rows in the table."""
    film, masks = draw_siim_film(seed, number, size)
    name = siim_uid(seed, number)
    _write_instance(out, film, name, seed, number)
    return [(name, encode_run_lengths(mask)) for mask in masks] or [(name, EMPTY)]


def _write_dicom_over(out: Location, size: int, seed: int, film: tuple[int, str, list[str]]) -> bool:
    """Write a film with masks given as run lengths; return whether it has any."""
    number, name, texts = film
    try:
        masks = tuple(decode_run_lengths(text, MASK_SIDE, MASK_SIDE) for text in texts if text not in ("", EMPTY))
    except DataError as error:
        raise DataError(f"{name}: {error.message}", error.remedy) from error
    _write_instance(out, draw_siim_film_over(seed, number, masks, size), name, seed, number)
    return bool(masks)


def _write_instance(out: Location, film: NDArray[np.uint8], name: str, seed: int, number: int) -> None:
    # A generator of its own: whoever draws a film in another layout gets the same pixels.
    rng = np.random.default_rng([seed, number, 1])
    header = DicomHeader(
        study=siim_uid(name, "study"),
        series=siim_uid(name, "series"),
        instance=name,
        patient_id=f"phantom-{seed}-{number}",
        patient_name=f"Phantom^{number}",
        sex="MF"[int(rng.integers(2))],
        age=int(rng.integers(16, 92)),
        view=("PA", "AP")[int(rng.random() < 0.4)],
        pixel_mm=_FIELD_MM / film.shape[1],
    )
    (out / DICOM_FOLDER / header.study / header.series / f"{name}.dcm").write_bytes(encode_dicom(film, header))


def _write_png(out: Location, size: int, seed: int, number: int) -> tuple[str, str, str]:
    """Write a film and its mask; return its row in the table."""
    film, masks = draw_siim_film(seed, number, size)
    label = str(int(bool(masks)))
    in_test = chosen_before(number, _TEST, _FILMS)
    place = f"{in_test}_test" if spread(number, _TEST, _FILMS) else f"{number - in_test}_train"
    name = f"{place}_{label}_.png"
    field = np.logical_or.reduce([np.zeros((MASK_SIDE, MASK_SIDE), bool), *masks]).astype(np.uint8)
    (out / MASK_FOLDER / name).write_bytes(encode_mask(resize_mask(field, size, size, 1) > 0))
    (out / IMAGE_FOLDER / name).write_bytes(encode_png(film))
    return name, siim_uid(seed, number), label


def _write_run_lengths(out: Location, rows: list[tuple[str, str]]) -> None:
    """Write the table as the competition has it, with a space after every comma."""
    lines = [", ".join(row) for row in (TABLE_COLUMNS, *rows)]
    (out / RUN_LENGTH_TABLE).write_text("\n".join([*lines, ""]))
