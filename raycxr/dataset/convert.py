"""One film from its original file to the pixels of a shard. What is wrong with it becomes a reject with a reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.dataset.codec import Codec
from raycxr.dataset.shard import film_row, mask_row
from raycxr.errors import DataError, RefusedFilmError
from raycxr.sources.film import Film, Reject, Source
from raycxr.storage.location import Location
from raycxr.xray.intensity import IntensityRule
from raycxr.xray.mask import binarise, pack_bits
from raycxr.xray.picture import decode_picture
from raycxr.xray.resize import letterbox_image, letterbox_mask
from raycxr.xray.run_length import RunLengths

# Masks drawn on a smaller or larger copy of the film have its aspect up to rounding; a figure or a crop has not.
ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Rules:
    """What turns a film into a row, the same for the whole data set."""

    source: Source
    source_name: str
    structures: Mapping[str, tuple[str, ...]]  # class -> structures merged into it
    size: int
    intensity: IntensityRule
    white: float | None  # stored value of white in films that keep their values
    codec: Codec
    roots: tuple[str, ...] = ()  # URIs below which films and masks lie
    patient_key: str | None = None  # tells keys of patients apart; None where the source hashes nobody


@dataclass(frozen=True)
class Converted:
    """A film ready for its shard: rows of the film shard, of the mask shard (or None) and of the index."""

    film: dict[str, Any]
    mask: dict[str, Any] | None
    index: dict[str, Any]


@dataclass(frozen=True)
class Originals:
    """Bytes of a film and of its masks, as read."""

    image: bytes
    masks: tuple[bytes | RunLengths, ...]


def film_fingerprint(film: Film, roots: Sequence[str]) -> str:
    """Hash of all that the listing tells about a film: its files, labels and patient, but not their contents.

    Files count by their names below the roots, so that an archive may move from one place to another.
    """
    told = asdict(film)
    if film.source is None:  # told by few layouts: the others keep the hashes that they had before it was
        del told["source"]
    for file in (told, *told["parts"]):
        for number, root in enumerate(roots):
            if file["uri"].startswith(root):
                file["uri"] = f"{number}{file['uri'].removeprefix(root)}"
                break
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_originals(film: Film) -> Originals:
    """Read all files of a film."""
    masks = tuple(part.run_lengths or Location(part.uri).read_bytes() for part in film.parts)
    return Originals(Location(film.uri).read_bytes(), masks)


def convert_film(film: Film, originals: Originals, rules: Rules) -> Converted | Reject:
    """Decode, map intensities, resize.

    Returns
    -------
    Converted or Reject
        A reject has one of the reasons `image_unreadable`, `image_flat`, `mask_unreadable`, `mask_size`,
        `mask_aspect`.
    """
    try:
        decoded = rules.source.decode(film, originals.image)
    except RefusedFilmError as error:
        return Reject(film.uri, error.reason, error.message)
    except DataError as error:
        return Reject(film.uri, "image_unreadable", str(error.message))
    pixels = decoded.pixels
    field = None
    if film.annotated:
        mask = _read_mask(film, originals.masks, pixels, rules)
        if isinstance(mask, Reject):
            return mask
        field = mask
    try:
        image, (low, high) = rules.intensity.apply(pixels)
    except DataError as error:
        return Reject(film.uri, "image_flat", error.message)
    high = high if rules.white is None else rules.white
    classes, size = len(rules.structures), rules.size
    small = None if field is None else letterbox_mask(field, size, classes)
    index = {
        "id": film.id,
        "patient": decoded.patient or film.patient,
        "source": film.source or rules.source_name,
        "annotated": film.annotated,
        "pixels": [int(np.count_nonzero(field & (1 << bit))) for bit in range(classes)] if field is not None else None,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "mask_height": None if field is None else field.shape[0],
        "mask_width": None if field is None else field.shape[1],
        "spacing_mm": decoded.pixel_mm or (film.field_width_mm and film.field_width_mm / pixels.shape[1]),
        "low": float(low),
        "high": float(high),
        "original": film.uri,
        "sha256": hashlib.sha256(originals.image).hexdigest(),
        "pixels_sha256": _pixel_hash(pixels),
        "masks_sha256": [hashlib.sha256(_mask_bytes(mask)).hexdigest() for mask in originals.masks],
        "given_split": film.split,
        "listed_sha256": film_fingerprint(film, rules.roots),
    }
    row = film_row(film.id, letterbox_image(image, size), small, film.labels, rules.codec)
    index["labels"] = row["labels"]
    return Converted(row, None if field is None else mask_row(film.id, field), index)


def _mask_bytes(mask: bytes | RunLengths) -> bytes:
    return mask.text.encode() if isinstance(mask, RunLengths) else mask


def _read_mask(
    film: Film, masks: tuple[bytes | RunLengths, ...], pixels: NDArray[Any], rules: Rules
) -> NDArray[np.uint8] | Reject:
    """Bit field of all classes at the size of the mask files."""
    drawn: dict[str, NDArray[np.bool_]] = {}
    for part, data in zip(film.parts, masks, strict=True):
        try:
            mask = data.decode() if isinstance(data, RunLengths) else binarise(decode_picture(data))
        except DataError as error:
            return Reject(part.uri, "mask_unreadable", error.message)
        known = next(iter(drawn.values()), mask)
        if mask.shape != known.shape:
            return Reject(part.uri, "mask_size", f"{_size(mask)}, the film's other masks are {_size(known)}")
        drawn[part.structure] = drawn[part.structure] | mask if part.structure in drawn else mask
    shape = next(iter(drawn.values())).shape
    aspect = (shape[1] / shape[0]) / (pixels.shape[1] / pixels.shape[0])
    if abs(aspect - 1) > ASPECT_TOLERANCE:
        return Reject(
            film.uri,
            "mask_aspect",
            f"the film is {_size(pixels)}, its mask {_size(next(iter(drawn.values())))}",
        )
    empty = np.zeros(shape, dtype=bool)
    merged = [
        reduce(np.logical_or, [drawn.get(structure, empty) for structure in parts])
        for parts in rules.structures.values()
    ]
    return pack_bits(merged)


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]}x{array.shape[0]} pixels"


def _pixel_hash(pixels: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{pixels.dtype.name} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
