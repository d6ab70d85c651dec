"""JSRT films (Shiraishi et al., AJR 2000) with SCR masks (van Ginneken et al., Med Image Anal 2006)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raycxr.errors import DataError
from raycxr.number_text import count
from raycxr.sources.film import Decoded, Film, Listing, MaskPart, Reject
from raycxr.sources.folder import PICTURES, list_folder, with_suffix
from raycxr.storage.location import Location
from raycxr.xray.anatomy import STRUCTURES
from raycxr.xray.intensity import invert
from raycxr.xray.picture import DECODER, decode_picture
from raycxr.xray.raw import RAW_BITS, RAW_PIXEL_MM, RAW_SIDE, decode_raw

IMAGE_FOLDER = "All247images"
FOLDS = ("fold1", "fold2")
FIELD_WIDTH_MM = RAW_SIDE * RAW_PIXEL_MM
_RAW = ".img"
_MASKS = (".gif", ".png")
_NAME = re.compile(r"JPC(LN|NN)\d{3,}")
_EXPECTED_FILMS = "JPCLN001.IMG, JPCNN001.IMG ... (raw) or the same names as .png, in it or in All247images/"
_EXPECTED_MASKS = (
    f"the folders {', '.join(STRUCTURES)} with JPCLN001.gif ..., directly or in fold1/masks/, fold2/masks/"
)


@dataclass(frozen=True)
class JsrtSource:
    """The 247 films of JSRT, 154 with a nodule (JPCLN) and 93 without (JPCNN).

    Parameters
    ----------
    images : str
        Folder with ``All247images/*.IMG``, with ``*.IMG`` directly, or with the same films as pictures of any size.
    masks : str or None
        Folder with one folder of GIF masks per structure, or with ``fold1/masks`` and ``fold2/masks`` holding them;
        None where nothing is annotated.
    inverted : bool or None
        Whether pictures show lungs bright; None means no. The raw ``.IMG`` always do.
    """

    images: str
    masks: str | None = None
    inverted: bool | None = None

    @property
    def structures(self) -> tuple[str, ...]:
        """The five structures of SCR; "left" is the patient's left, the right half of the picture."""
        return STRUCTURES

    @property
    def decoder(self) -> str:
        """What decodes the pictures; raw films need none."""
        return DECODER

    def list(self) -> Listing:
        """List films and masks folder by folder; see `raycxr.sources.film.Source.list`.

        Rejected are `duplicate_id` (the same film as .IMG and as picture), `image_missing` (masks without a film),
        `mask_incomplete` (some structures without a mask) and `unknown_name`.
        """
        images, rejects = _find_images(self.images)
        masks = _find_masks(self.masks)
        films = []
        for name, image in sorted(images.items()):
            parts = masks.pop(name, ())
            missing = [structure for structure in STRUCTURES if structure not in {part.structure for part in parts}]
            if parts and missing:
                rejects.append(Reject(image.uri, "mask_incomplete", f"no mask of {', '.join(missing)}"))
                continue
            labels = {"nodule": int(name.startswith("JPCLN"))}
            films.append(Film(name, image.uri, parts, bool(parts), name, labels, FIELD_WIDTH_MM, None))
        for name, parts in sorted(masks.items()):
            rejects.append(Reject(parts[0].uri, "image_missing", f"{count(len(parts), 'mask')} of {name}, but no film"))
        return Listing(tuple(films), tuple(rejects))

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Decode a film; see `raycxr.sources.film.Source.decode`. Raw films have values 0 to 4095."""
        if Location(film.uri).suffix.lower() == _RAW:
            return Decoded(invert(decode_raw(data), RAW_BITS))
        pixels = decode_picture(data)
        return Decoded(invert(pixels, 8 * pixels.itemsize) if self.inverted else pixels)


def _find_images(images: str) -> tuple[dict[str, Location], list[Reject]]:
    """Find the films by name; of a raw film and a picture of the same name the raw one counts."""
    folder = Location(images)
    files = list_folder(folder, _EXPECTED_FILMS)
    if IMAGE_FOLDER in {file.name for file in files}:
        folder = folder / IMAGE_FOLDER
        files = list_folder(folder, _EXPECTED_FILMS)
    found: dict[str, Location] = {}
    rejects = []
    for file in with_suffix(files, (_RAW,)) + with_suffix(files, PICTURES):
        if not _NAME.fullmatch(file.stem):
            rejects.append(Reject(file.uri, "unknown_name", "JSRT films are named JPCLN001 or JPCNN001"))
        elif file.stem in found:
            rejects.append(Reject(file.uri, "duplicate_id", f"{found[file.stem].name} is the same film"))
        else:
            found[file.stem] = file
    if not found:
        raise DataError(f"no JSRT film in {folder}", f"expected there: {_EXPECTED_FILMS}")
    return found, rejects


def _find_masks(masks: str | None) -> dict[str, tuple[MaskPart, ...]]:
    """Find the masks of every film, in the order of the structures."""
    if masks is None:
        return {}
    root = Location(masks)
    names = {child.name for child in list_folder(root, _EXPECTED_MASKS)}
    folders = [root / fold / "masks" for fold in FOLDS if fold in names] or [root]
    found: dict[str, tuple[MaskPart, ...]] = {}
    for structure in STRUCTURES:
        for folder in folders:
            for file in with_suffix(list_folder(folder / structure, _EXPECTED_MASKS), _MASKS):
                found[file.stem] = (*found.get(file.stem, ()), MaskPart(structure, file.uri))
    return found
