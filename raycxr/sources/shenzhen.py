"""Shenzhen films (Jaeger et al., Quant Imaging Med Surg 2014) with the lung masks of Stirenko et al. (2018)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from raycxr.errors import DataError
from raycxr.sources.film import Decoded, Film, Listing, MaskPart, Reject
from raycxr.sources.folder import PICTURES, by_film, list_folder, list_inside, mask_folder, with_suffix
from raycxr.storage.location import Location
from raycxr.xray.intensity import invert
from raycxr.xray.picture import DECODER, decode_picture

IMAGE_FOLDER = "CXR_png"
MASK_FOLDERS = ("mask", "masks")
STRUCTURE = "lungs"
_MASKS = (*PICTURES, ".gif")


@dataclass(frozen=True)
class Names:
    """How the films and the masks of a tuberculosis set are named; the last digit of a film is its label.

    Parameters
    ----------
    film, mask : regular expression
        A name without its ending; the group that matches is the film.
    films, masks : str
        The same in words.
    """

    film: re.Pattern[str]
    mask: re.Pattern[str]
    films: str
    masks: str


SHENZHEN = Names(
    film=re.compile(r"(CHNCXR_\d{4}_[01])"),
    mask=re.compile(r"(CHNCXR_\d{4}_[01])_mask"),
    films="CHNCXR_0001_0.png (1 at the end: tuberculosis), in it or in CXR_png/",
    masks="CHNCXR_0001_0_mask.png",
)


@dataclass(frozen=True)
class ShenzhenSource:
    """The 662 films of Shenzhen, 336 with tuberculosis; 566 have a mask, the others none by nature.

    A patient has one film in this set, so the name stands for the patient. Age and sex in the set's readings are not
    read: the digit in the name is the label.

    Parameters
    ----------
    images : str
        Folder with ``CXR_png/CHNCXR_0001_0.png``, or with such films directly.
    masks : str or None
        Folder of masks ``CHNCXR_0001_0_mask.png``; None: ``mask/`` or ``masks/`` in `images`, and where there is
        neither, nothing is annotated.
    inverted : bool
        Whether the films show lungs bright; the original ones do not.
    """

    images: str
    masks: str | None = None
    inverted: bool = False

    @property
    def structures(self) -> tuple[str, ...]:
        """Both lungs together."""
        return (STRUCTURE,)

    @property
    def decoder(self) -> str:
        """What decodes the films."""
        return DECODER

    def list(self) -> Listing:
        """List films and masks; see `raycxr.sources.film.Source.list` and `list_tuberculosis`."""
        return list_tuberculosis(Location(self.images), self.masks, SHENZHEN)

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Decode a film; see `raycxr.sources.film.Source.decode`."""
        pixels = decode_picture(data)
        return Decoded(invert(pixels, 8 * pixels.itemsize) if self.inverted else pixels)


def list_tuberculosis(root: Location, masks: str | None, names: Names) -> Listing:
    """List a set of films with one mask of both lungs each, where some have none.

    Rejected are `unknown_name`, `duplicate_id` (the same film or mask twice) and `image_missing` (a mask without a
    film).
    """
    files = with_suffix(list_inside(root, IMAGE_FOLDER, names.films), PICTURES)
    images, rejects = by_film(files, names.film, names.films)
    if not images:
        raise DataError(f"no film in {root}", f"expected there: {names.films}")
    folder = mask_folder(root, masks, MASK_FOLDERS)
    drawn: dict[str, Location] = {}
    if folder is not None:
        drawn, strange = by_film(with_suffix(list_folder(folder, names.masks), _MASKS), names.mask, names.masks)
        rejects += strange
        if not drawn:
            raise DataError(f"no mask in {folder}", f"expected there: {names.masks}")
    films = []
    for name, image in sorted(images.items()):
        parts = (MaskPart(STRUCTURE, drawn[name].uri),) if name in drawn else ()
        films.append(Film(name, image.uri, parts, bool(parts), name, tuberculosis(name), None, None))
    rejects += [
        Reject(mask.uri, "image_missing", "a mask without a film") for name, mask in drawn.items() if name not in images
    ]
    return Listing(tuple(films), tuple(rejects))


def tuberculosis(name: str) -> dict[str, int]:
    """Label of a film whose name ends in 0 (normal) or 1 (tuberculosis)."""
    return {"tuberculosis": int(name[-1])}
