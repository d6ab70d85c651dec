"""A folder of films and a folder of masks with equal names, as many small data sets come."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raycxr.errors import ConfigurationError, DataError
from raycxr.sources.film import Decoded, Film, Listing, MaskPart, Reject
from raycxr.sources.folder import PICTURES, list_folder, with_suffix
from raycxr.storage.location import Location
from raycxr.xray.intensity import invert
from raycxr.xray.picture import DECODER, decode_picture

# Sub-folders that give a split, in the order in which they are read.
SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
_MASKS = (*PICTURES, ".gif")
_EXPECTED = "PNG or JPEG files, in it or in train/, val/ and test/"


@dataclass(frozen=True)
class PairsSource:
    """Films and masks with equal names.

    Parameters
    ----------
    images : str
        Folder of PNG or JPEG films, or of sub-folders ``train``, ``val`` (or ``validation``) and ``test``.
    masks : str or None
        Folder of masks (also GIF) with the same sub-folders, or without any; None where nothing is annotated.
    mask_suffix : str
        What a mask's name adds to its film's, such as ``_mask``. With a suffix both may lie in one folder.
    structure : str
        What the masks show.
    inverted : bool
        Whether the films show lungs bright.
    patient_pattern : str or None
        Regular expression, searched in a film's name without its ending, whose first group is the patient. None:
        every film is a patient of its own.

    Raises
    ------
    ConfigurationError
        If the pattern is no regular expression with a group.
    """

    images: str
    masks: str | None = None
    mask_suffix: str = ""
    structure: str = "lungs"
    inverted: bool = False
    patient_pattern: str | None = None

    def __post_init__(self) -> None:
        if self.patient_pattern is None:
            return
        try:
            groups = re.compile(self.patient_pattern).groups
        except re.error as error:
            raise ConfigurationError(
                f"patient_pattern {self.patient_pattern!r} is no regular expression: {error}"
            ) from error
        if not groups:
            raise ConfigurationError(
                f"patient_pattern {self.patient_pattern!r} has no group",
                r"put the patient's part in parentheses, as in (\d+)_",
            )

    @property
    def structures(self) -> tuple[str, ...]:
        """The one structure of the masks."""
        return (self.structure,)

    @property
    def decoder(self) -> str:
        """What decodes the films."""
        return DECODER

    def list(self) -> Listing:
        """List films and masks folder by folder; see `raycxr.sources.film.Source.list`.

        Rejected are `duplicate_id` (a second film or mask of the same name), `image_missing` (a mask without a film)
        and `patient_unknown` (a name that the pattern does not match).
        """
        masks, rejects = _find_masks(self)
        films: dict[str, Film] = {}
        for image, split in _find_images(self):
            found = next((key for key in ((split, image.stem), (None, image.stem)) if key in masks), None)
            mask = None if found is None else masks.pop(found)
            patient = self._patient(image.stem)
            if image.stem in films:
                detail = f"{films[image.stem].uri} has the same name"
                rejects.append(Reject(image.uri, "duplicate_id", detail))
            elif patient is None:
                rejects.append(Reject(image.uri, "patient_unknown", f"no match of {self.patient_pattern}"))
            else:
                parts = () if mask is None else (MaskPart(self.structure, mask.uri),)
                films[image.stem] = Film(image.stem, image.uri, parts, bool(parts), patient, {}, None, split)
        rejects += [Reject(mask.uri, "image_missing", "a mask without a film") for mask in masks.values()]
        return Listing(tuple(films[name] for name in sorted(films)), tuple(rejects))

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Decode a film; see `raycxr.sources.film.Source.decode`."""
        pixels = decode_picture(data)
        return Decoded(invert(pixels, 8 * pixels.itemsize) if self.inverted else pixels)

    def _patient(self, stem: str) -> str | None:
        if self.patient_pattern is None:
            return stem
        match = re.search(self.patient_pattern, stem)
        return match[1] if match else None


def _find_images(source: PairsSource) -> list[tuple[Location, str | None]]:
    """Find the films, each with its split; where masks lie in the same folder, their suffix tells them apart."""
    files = _files(Location(source.images), PICTURES)
    if source.mask_suffix and _in_one_folder(source):
        files = [(file, split) for file, split in files if not file.stem.endswith(source.mask_suffix)]
    if not files:
        raise DataError(f"no film in {source.images}", f"expected there: {_EXPECTED}")
    return files


def _find_masks(source: PairsSource) -> tuple[dict[tuple[str | None, str], Location], list[Reject]]:
    """Find the masks by split and name of the film."""
    found: dict[tuple[str | None, str], Location] = {}
    rejects: list[Reject] = []
    if source.masks is None:
        return found, rejects
    for file, split in _files(Location(source.masks), _MASKS):
        key = split, file.stem.removesuffix(source.mask_suffix)
        if not file.stem.endswith(source.mask_suffix):
            if not _in_one_folder(source):
                rejects.append(Reject(file.uri, "image_missing", f"no mask: no {source.mask_suffix} in its name"))
        elif key in found:
            rejects.append(Reject(file.uri, "duplicate_id", f"{found[key].uri} has the same name"))
        else:
            found[key] = file
    if not found:
        named = f" with names ending in {source.mask_suffix}" if source.mask_suffix else ""
        raise DataError(f"no mask in {source.masks}", f"expected there: {_EXPECTED}{named}")
    return found, rejects


def _in_one_folder(source: PairsSource) -> bool:
    return source.masks is not None and Location(source.masks) == Location(source.images)


def _files(folder: Location, suffixes: tuple[str, ...]) -> list[tuple[Location, str | None]]:
    """Return the pictures of a folder and of its split folders, each with its split."""
    children = list_folder(folder, _EXPECTED)
    found: list[tuple[Location, str | None]] = [(file, None) for file in with_suffix(children, suffixes)]
    names = {child.name: child for child in children}
    for name, split in SPLIT_FOLDERS.items():
        if name in names:
            found += [(file, split) for file in with_suffix(names[name].list(), suffixes)]
    return found
