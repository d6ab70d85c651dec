"""SIIM-ACR Pneumothorax Segmentation (Kaggle 2019) as it was handed out: DICOM films and a table of run lengths."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from raycxr.errors import DataError, RefusedFilmError
from raycxr.number_text import count
from raycxr.sources.film import Decoded, Film, Listing, MaskPart, Reject
from raycxr.sources.patient_key import hash_patient
from raycxr.sources.table import read_table, told
from raycxr.storage.location import Location
from raycxr.xray.run_length import EMPTY, RunLengths

STRUCTURE = "pneumothorax"
# All films and masks of the competition are of this size (data page of the competition, Kaggle 2019).
MASK_SIDE = 1024
TABLE_COLUMNS = ("ImageId", "EncodedPixels")
_DICOM = ".dcm"
_EXPECTED = "*.dcm files, at any depth"


@dataclass(frozen=True)
class SiimDicomSource:
    """DICOM films in a tree of any depth, named by their id, and one table with all masks.

    Parameters
    ----------
    images : str
        Root of the tree. The name of a file without ``.dcm`` is the film's id; other files are left alone.
    masks : str or None
        Table with the columns ``ImageId`` and ``EncodedPixels`` (.csv or .csv.gz): relative run lengths in 1024x1024
        pixels, one row per mask, ``-1`` where there is none. None where nothing is annotated.
    modalities, body_parts : tuple of str or None
        The only values of Modality (0008,0060) and BodyPartExamined (0018,0015) accepted, in any case; an empty text
        accepts files that name none. None: any.
    key : bytes
        Key under which patients are hashed, see `raycxr.sources.patient_key`. It travels with the source to workers,
        but is never shown.
    """

    images: str
    masks: str | None
    modalities: tuple[str, ...] | None
    body_parts: tuple[str, ...] | None
    key: bytes = field(repr=False)

    @property
    def structures(self) -> tuple[str, ...]:
        """The pneumothorax."""
        return (STRUCTURE,)

    @property
    def decoder(self) -> str:
        """What decodes the films, by transfer syntax."""
        # Half a second of pydicom, which other sources need not wait for.
        from raycxr.xray.dicom import DECODER

        return DECODER

    def list(self) -> Listing:
        """List the tree and read the table; see `raycxr.sources.film.Source.list`.

        Rejected are `duplicate_id` (a second file of the same name), and where there is a table, `row_missing` (a
        film without a row) and `image_missing` (rows without a film).
        """
        images, rejects = _find_images(Location(self.images))
        if self.masks is None:
            films = [Film(name, image.uri, (), False, name, {}, None, None) for name, image in sorted(images.items())]
            return Listing(tuple(films), tuple(rejects))
        table = Location(self.masks)
        rows = read_run_length_table(table)
        films = []
        for name, image in sorted(images.items()):
            if name in rows:
                # An image may have several masks and an empty row besides; where all are empty, so is its one mask.
                masks = [text for text in rows[name] if text not in ("", EMPTY)]
                parts = tuple(_part(table, name, text) for text in masks or [EMPTY])
                films.append(Film(name, image.uri, parts, True, name, {STRUCTURE: int(bool(masks))}, None, None))
            else:
                rejects.append(Reject(image.uri, "row_missing", f"{table.name} has no row of it"))
        for number, (name, texts) in enumerate(rows.items(), start=1):
            if name not in images:
                shown = told(name, f"name {number}")
                missing = f"{count(len(texts), 'row')}, but no {told(name + _DICOM, 'film of that name')}"
                rejects.append(Reject(_row_uri(table, shown), "image_missing", missing))
        return Listing(tuple(films), tuple(rejects))

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Decode a film; see `raycxr.sources.film.Source.decode`.

        Raises
        ------
        RefusedFilmError
            With the reason `wrong_modality` or `wrong_body_part`.
        """
        from raycxr.xray.dicom import decode_dicom

        dicom = decode_dicom(data)
        _require("wrong_modality", "modality", dicom.modality, self.modalities)
        _require("wrong_body_part", "body part", dicom.body_part, self.body_parts)
        patient = hash_patient(self.key, dicom.patient_id) if dicom.patient_id else None
        return Decoded(dicom.pixels, patient, dicom.pixel_mm)


def read_run_length_table(table: Location) -> dict[str, list[str]]:
    """Read a table of the competition: image id -> the run lengths of its rows, in their order.

    Raises
    ------
    DataError
        If it is no such table; see `raycxr.sources.table.read_table`.
    """
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for name, text in read_table(table, TABLE_COLUMNS):
        rows[name].append(text)
    return dict(rows)


def _find_images(root: Location) -> tuple[dict[str, Location], list[Reject]]:
    """Find the films by id, in the order of their paths."""
    if not root.is_dir():
        raise DataError(f"no such folder: {root}", f"expected there: {_EXPECTED}")
    found: dict[str, Location] = {}
    rejects = []
    for file in root.walk():
        name = file.stem
        if file.suffix.lower() != _DICOM:
            continue
        if name in found:
            rejects.append(Reject(file.uri, "duplicate_id", f"{found[name].uri} has the same name"))
        else:
            found[name] = file
    if not found:
        raise DataError(f"no DICOM film in {root}", f"expected there: {_EXPECTED}")
    return found, rejects


def _part(table: Location, name: str, text: str) -> MaskPart:
    return MaskPart(STRUCTURE, _row_uri(table, name), RunLengths(text, MASK_SIDE, MASK_SIDE))


def _row_uri(table: Location, name: str) -> str:
    """Name a row of the table: of thousands of rows, the table's own name would not tell which."""
    return f"{table.uri}#{name}"


def _require(reason: str, what: str, value: str | None, accepted: tuple[str, ...] | None) -> None:
    name = (value or "").strip().upper()
    if accepted is None or name in {one.strip().upper() for one in accepted}:
        return
    found = f"{what} {told(name, 'of another form')}" if name else f"no {what}"
    wanted = " or ".join(one.strip().upper() or "none" for one in accepted) or "nothing"
    raise RefusedFilmError(reason, f"{found}, accepted is {wanted}")
