"""Montgomery films and masks (Jaeger et al., Quant Imaging Med Surg 2014; Candemir et al., IEEE TMI 2014)."""

from __future__ import annotations

import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from raycxr.errors import DataError
from raycxr.number_text import count
from raycxr.sources.film import Decoded, Film, Listing, MaskPart, Reject
from raycxr.sources.folder import PICTURES, by_film, list_folder, list_inside, mask_folder, with_suffix
from raycxr.sources.shenzhen import IMAGE_FOLDER, tuberculosis
from raycxr.storage.location import Location
from raycxr.xray.intensity import invert
from raycxr.xray.picture import DECODER, decode_picture

MASK_FOLDER = "ManualMask"
READING_FOLDER = "ClinicalReadings"
# "left" is the patient's left, the right half of the picture.
SIDES = {"left lung": "leftMask", "right lung": "rightMask"}
# All films are of this size, upright or lying, with pixels of 0.0875 mm (read-me of the set, NLM 2014).
LONG_SIDE, SHORT_SIDE, PIXEL_MM = 4892, 4020, 0.0875
# The aspect of a reduced copy changes by rounding; one that was squeezed into a square has no one pixel distance.
_ASPECT_TOLERANCE = 0.01
_MASKS = (*PICTURES, ".gif")
_NAME = re.compile(r"(MCUCXR_\d{4}_[01])")
_EXPECTED_FILMS = "MCUCXR_0001_0.png (1 at the end: tuberculosis), in it or in CXR_png/"
_EXPECTED_MASKS = "leftMask/ and rightMask/ with MCUCXR_0001_0.png ..."
_READERS = 16


@dataclass(frozen=True)
class MontgomerySource:
    """The 138 films of Montgomery County, 58 with tuberculosis, and the masks of their two lungs.

    A patient has one film in this set, so the name stands for the patient. The label is the last digit of the name.
    Of the clinical readings only this is used: where one says nothing but "normal" of a film named as tuberculosis,
    one of the two is wrong. They are 138 files of three lines, a second's work even in a bucket. The age and the sex
    in them are identity and are never kept.

    Parameters
    ----------
    images : str
        Folder with ``CXR_png/MCUCXR_0001_0.png`` and perhaps ``ClinicalReadings/``, or with such films directly.
    masks : str or None
        Folder with ``leftMask/`` and ``rightMask/``; None: ``ManualMask/`` in `images`, and where there is none,
        nothing is annotated.
    inverted : bool
        Whether the films show lungs bright; the original ones do not.
    """

    images: str
    masks: str | None = None
    inverted: bool = False

    @property
    def structures(self) -> tuple[str, ...]:
        """The two lungs; "left" is the patient's left."""
        return tuple(SIDES)

    @property
    def decoder(self) -> str:
        """What decodes the films."""
        return DECODER

    def list(self) -> Listing:
        """List films and masks; see `raycxr.sources.film.Source.list`.

        Rejected are `unknown_name`, `duplicate_id` (the same film or mask twice), `mask_incomplete` (a mask of one
        lung only), `label_conflict` (tuberculosis by its name, normal by its reading) and `image_missing` (masks
        without a film).
        """
        root = Location(self.images)
        files = with_suffix(list_inside(root, IMAGE_FOLDER, _EXPECTED_FILMS), PICTURES)
        images, rejects = by_film(files, _NAME, _EXPECTED_FILMS)
        if not images:
            raise DataError(f"no Montgomery film in {root}", f"expected there: {_EXPECTED_FILMS}")
        masks, strange = _find_masks(mask_folder(root, self.masks, (MASK_FOLDER,)))
        normal = _read_as_normal(root, {name for name in images if tuberculosis(name)["tuberculosis"]})
        films = []
        for name, image in sorted(images.items()):
            parts = masks.pop(name, ())
            if len(parts) == 1:
                missing = next(side for side in SIDES if side != parts[0].structure)
                rejects.append(Reject(image.uri, "mask_incomplete", f"no mask of the {missing}"))
            elif name in normal:
                detail = "tuberculosis by its name, normal by its clinical reading"
                rejects.append(Reject(image.uri, "label_conflict", detail))
            else:
                films.append(Film(name, image.uri, parts, bool(parts), name, tuberculosis(name), None, None))
        for name, parts in sorted(masks.items()):
            rejects.append(Reject(parts[0].uri, "image_missing", f"{count(len(parts), 'mask')} of {name}, but no film"))
        return Listing(tuple(films), (*rejects, *strange))

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Decode a film; see `raycxr.sources.film.Source.decode`."""
        pixels = decode_picture(data)
        upright = invert(pixels, 8 * pixels.itemsize) if self.inverted else pixels
        return Decoded(upright, pixel_mm=montgomery_pixel_mm(*pixels.shape))


def montgomery_pixel_mm(height: int, width: int) -> float | None:
    """Distance of pixels in a copy of a Montgomery film; None where its aspect is no longer that of the film."""
    long, short = max(height, width), min(height, width)
    if abs(long * SHORT_SIDE / (short * LONG_SIDE) - 1) > _ASPECT_TOLERANCE:
        return None
    return PIXEL_MM * LONG_SIDE / long


def _find_masks(folder: Location | None) -> tuple[dict[str, tuple[MaskPart, ...]], list[Reject]]:
    """Find the masks of every film, in the order of the structures."""
    found: dict[str, tuple[MaskPart, ...]] = {}
    rejects: list[Reject] = []
    if folder is None:
        return found, rejects
    for structure, side in SIDES.items():
        files = with_suffix(list_folder(folder / side, _EXPECTED_MASKS), _MASKS)
        masks, strange = by_film(files, _NAME, _EXPECTED_MASKS)
        rejects += strange
        for name, mask in masks.items():
            found[name] = (*found.get(name, ()), MaskPart(structure, mask.uri))
    return found, rejects


def _read_as_normal(root: Location, names: Collection[str]) -> set[str]:
    """Return those of the films whose clinical reading says nothing but "normal"."""
    folder = root / READING_FOLDER
    if not folder.is_dir():
        return set()
    readings = [file for file in with_suffix(folder.list(), (".txt",)) if file.stem in names]
    with ThreadPoolExecutor(_READERS) as readers:
        texts = readers.map(lambda file: file.read_bytes(), readings)
        return {file.stem for file, text in zip(readings, texts, strict=True) if _finding(text) == "normal"}


def _finding(reading: bytes) -> str:
    """Return what a reading says below its lines on sex and age. Free text: any byte may stand in it."""
    lines = [line.strip() for line in reading.decode("latin-1").splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("Patient's ")).rstrip(".").lower()
