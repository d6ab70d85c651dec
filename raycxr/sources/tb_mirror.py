"""The mirror that holds the Montgomery and the Shenzhen films in one folder and all lung masks in another."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from raycxr.sources.film import Decoded, Film, Listing
from raycxr.sources.montgomery import montgomery_pixel_mm
from raycxr.sources.shenzhen import STRUCTURE, Names, list_tuberculosis
from raycxr.storage.location import Location
from raycxr.xray.intensity import invert
from raycxr.xray.picture import DECODER, decode_picture

MONTGOMERY_PREFIX = "MCUCXR"
MIRROR = Names(
    film=re.compile(r"((?:MCUCXR|CHNCXR)_\d{4}_[01])"),
    mask=re.compile(r"(MCUCXR_\d{4}_[01])|(CHNCXR_\d{4}_[01])_mask"),
    films="MCUCXR_0001_0.png and CHNCXR_0001_0.png (1 at the end: tuberculosis), in it or in CXR_png/",
    masks="MCUCXR_0001_0.png and CHNCXR_0001_0_mask.png",
)


@dataclass(frozen=True)
class TbMirrorSource:
    """800 films, 138 of Montgomery and 662 of Shenzhen; 704 have a mask of both lungs, the others none by nature.

    Names differ by their prefix, so ids stay unique. The mirror's folder ``test/`` repeats the films without a mask
    and is left out.

    Parameters
    ----------
    images : str
        Folder with ``CXR_png/``, or with the films of both sets directly.
    masks : str or None
        Folder of masks: those of Montgomery bear the film's own name, those of Shenzhen add ``_mask``. None:
        ``mask/`` or ``masks/`` in `images`, and where there is neither, nothing is annotated.
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
        listing = list_tuberculosis(Location(self.images), self.masks, MIRROR)
        return replace(listing, films=tuple(replace(film, source=_hospital(film.id)) for film in listing.films))

    def decode(self, film: Film, data: bytes) -> Decoded:
        """Decode a film; see `raycxr.sources.film.Source.decode`. Only Montgomery tells its pixel distance."""
        pixels = decode_picture(data)
        pixel_mm = montgomery_pixel_mm(*pixels.shape) if _hospital(film.id) == "montgomery" else None
        return Decoded(invert(pixels, 8 * pixels.itemsize) if self.inverted else pixels, pixel_mm=pixel_mm)


def _hospital(film_id: str) -> str:
    """Which of the two sets a film comes from."""
    return "montgomery" if film_id.startswith(MONTGOMERY_PREFIX) else "shenzhen"
