"""SIIM-ACR Pneumothorax Segmentation (Kaggle 2019) as its PNG mirror has it: films, masks and two name tables."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raycxr.errors import DataError
from raycxr.sources.film import Decoded, Film, Listing, MaskPart, Reject
from raycxr.sources.folder import PICTURES, list_folder, mask_folder, with_suffix
from raycxr.sources.siim_dicom import STRUCTURE
from raycxr.sources.table import read_table, told
from raycxr.storage.location import Location
from raycxr.xray.intensity import invert
from raycxr.xray.picture import DECODER, decode_picture

IMAGE_FOLDER = "png_images"
MASK_FOLDER = "png_masks"
# The name table of every split.
TABLES = {"train": "stage_1_train_images.csv", "test": "stage_1_test_images.csv"}
TABLE_COLUMNS = ("new_filename", "ImageId", "has_pneumo")
_NAME = re.compile(r"\d+_(train|test)_([01])_")
_EXPECTED = f"{IMAGE_FOLDER}/ and {' or '.join(TABLES.values())}"
_EXPECTED_FILES = "0_train_0_.png ..."


@dataclass(frozen=True)
class _Row:
    """A row of a name table: file, id and label as written, the table's split, and what the row itself is called."""

    file: str
    id: str
    label: str
    split: str
    uri: str


@dataclass(frozen=True)
class SiimPngSource:
    """The films of the competition as PNG, named ``<number>_<split>_<has_pneumo>_.png``, with masks of equal names.

    Parameters
    ----------
    images : str
        Folder with ``png_images/`` and the name tables ``stage_1_train_images.csv`` and
        ``stage_1_test_images.csv``, of which one may be missing.
    masks : str or None
        Folder of masks, black where there is nothing to see; None: ``png_masks/`` in `images`, and where there is
        none, nothing is annotated.
    inverted : bool
        Whether the films show lungs bright; the mirror's do not.
    """

    images: str
    masks: str | None = None
    inverted: bool = False

    @property
    def structures(self) -> tuple[str, ...]:
        """The pneumothorax."""
        return (STRUCTURE,)

    @property
    def decoder(self) -> str:
        """What decodes the films."""
        return DECODER

    def list(self) -> Listing:
        """List films and masks, and read the tables; see `raycxr.sources.film.Source.list`.

        Rejected are `duplicate_id` (a second row of a film or a file), `image_missing` (a row or a mask without a
        film), `row_missing` (a film without a row), `label_unknown` (has_pneumo is neither 0 nor 1),
        `label_conflict` and `split_conflict` (the table contradicts the name of the file) and `mask_missing` (all
        others have a mask).
        """
        root = Location(self.images)
        rows = _read_rows(root)
        images = _pictures(root / IMAGE_FOLDER)
        folder = mask_folder(root, self.masks, (MASK_FOLDER,))
        masks = {} if folder is None else _pictures(folder)
        films: dict[str, Film] = {}
        files: set[str] = set()
        rejects = []
        for row in rows:
            if row.id in films or row.file in files:
                taken = f"{told(row.file, 'its file')} or {told(row.id, 'its id')}"
                rejects.append(Reject(row.uri, "duplicate_id", f"another row has {taken}, too"))
            elif row.file not in images:
                missing = told(row.file, "file of that name")
                rejects.append(Reject(row.uri, "image_missing", f"no {missing} in {IMAGE_FOLDER}/"))
            elif fault := _conflict(row):
                rejects.append(Reject(images[row.file].uri, *fault))
            elif folder is not None and row.file not in masks:
                rejects.append(Reject(images[row.file].uri, "mask_missing", f"no {row.file} in {folder}"))
            else:
                parts = () if folder is None else (MaskPart(STRUCTURE, masks[row.file].uri),)
                labels = {STRUCTURE: int(row.label)}
                films[row.id] = Film(row.id, images[row.file].uri, parts, bool(parts), row.id, labels, None, row.split)
            files.add(row.file)
        for name, image in images.items():
            if name not in files:
                rejects.append(Reject(image.uri, "row_missing", "no name table has a row of it"))
        for name, mask in masks.items():
            if name not in images:
                rejects.append(Reject(mask.uri, "image_missing", "a mask without a film"))
        return Listing(tuple(films[name] for name in sorted(films)), tuple(rejects))

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Decode a film; see `raycxr.sources.film.Source.decode`."""
        pixels = decode_picture(data)
        return Decoded(invert(pixels, 8 * pixels.itemsize) if self.inverted else pixels)


def _read_rows(root: Location) -> list[_Row]:
    """Read the name tables; one alone is enough."""
    tables = {split: root / name for split, name in TABLES.items() if (root / name).is_file()}
    if not tables:
        raise DataError(f"no name table in {root}", f"expected there: {_EXPECTED}")
    return [
        _Row(file, name, label, split, f"{table.uri}#{told(file, f'row {number}')}")
        for split, table in tables.items()
        for number, (file, name, label) in enumerate(read_table(table, TABLE_COLUMNS), start=1)
    ]


def _pictures(folder: Location) -> dict[str, Location]:
    return {file.name: file for file in with_suffix(list_folder(folder, _EXPECTED_FILES), PICTURES)}


def _conflict(row: _Row) -> tuple[str, str] | None:
    """Reason and detail where a row contradicts the name of its file or itself."""
    if row.label not in ("0", "1"):
        return "label_unknown", f"has_pneumo is {row.label[:20]!r}, expected was 0 or 1"
    named = _NAME.match(row.file)
    if named is None or (row.split, row.label) == named.groups():
        return None
    if row.label != named[2]:
        return "label_conflict", f"has_pneumo is {row.label}, the name of the file says {named[2]}"
    return "split_conflict", f"a row of the {row.split} table, the name of the file says {named[1]}"
