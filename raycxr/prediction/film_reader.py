"""A film to be predicted, from its file or data set to the square that a network takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.dataset.cache import CachedShards, cache_folder, map_shard
from raycxr.dataset.manifest import read_manifest
from raycxr.dataset.shard import read_film
from raycxr.errors import DataError
from raycxr.prediction.inputs import DICOM, RAW, InputFilm
from raycxr.storage.location import Location
from raycxr.xray.dicom import decode_dicom
from raycxr.xray.intensity import IntensityRule, invert
from raycxr.xray.picture import decode_picture
from raycxr.xray.raw import RAW_BITS, decode_raw
from raycxr.xray.resize import letterbox_image, undo_letterbox

_DICOM_LETTERS = b"DICM"


@dataclass(frozen=True)
class OpenedFilm:
    """A film that was read.

    Attributes
    ----------
    square : array (S, S)
        What the network takes: uint8, or float32 in 0..1.
    image : uint8 array (H, W)
        The film itself, to draw on.
    height, width : int
        Pixels of the original, the size of the masks.
    dicom : bytes or None
        The whole file, where it is one.
    """

    square: NDArray[Any]
    image: NDArray[np.uint8]
    height: int
    width: int
    dicom: bytes | None


class FilmReader:
    """Opens films for one network.

    Parameters
    ----------
    size : int
        Pixels of the network's films.
    intensity : dict
        Grey-level rule of its bundle.
    cache : str or None
        Of shards, as in `dataset.cache`.
    """

    def __init__(self, size: int, intensity: dict[str, Any], cache: str | None) -> None:
        self.size, self.cache = size, cache
        given = {name: intensity[name] for name in ("low", "high") if intensity.get(name) is not None}
        self.rule = IntensityRule(intensity["rule"], **(given if intensity["rule"] != "keep" else {}))
        self.white = intensity.get("high") if intensity["rule"] == "keep" else None
        self.sets: dict[str, CachedShards] = {}

    def open(self, film: InputFilm) -> OpenedFilm:
        """Read a film.

        Raises
        ------
        DataError
            It is damaged, is none, or has another size than the network's where it comes from a data set.
        StorageError
            It cannot be read.
        """
        if film.row is not None:
            return self._open_row(film.uri, film.row)
        place = Location(film.uri)
        return self.decode(place.read_bytes(), place.suffix.lower())

    def decode(self, data: bytes, suffix: str = "") -> OpenedFilm:
        """Decode a film's file: DICOM, PNG, JPEG or GIF, and by its suffix ``.img`` a raw film of JSRT.

        Raises
        ------
        DataError
            It is damaged, or is none.
        """
        dicom = data[128:132] == _DICOM_LETTERS or suffix in DICOM
        if dicom:
            pixels = decode_dicom(data).pixels
        else:
            pixels = invert(decode_raw(data), RAW_BITS) if suffix in RAW else decode_picture(data)
        levels, (_, high) = self.rule.apply(pixels)
        square: NDArray[Any] = letterbox_image(levels, self.size)
        if square.dtype == np.uint16:
            white = np.float32(self.white or high)
            square = np.minimum(square.astype(np.float32) / white, np.float32(1))
        height, width = pixels.shape
        return OpenedFilm(square, _shown(pixels), height, width, data if dicom else None)

    def _open_row(self, uri: str, row: dict[str, Any]) -> OpenedFilm:
        if uri not in self.sets:
            location = Location(uri)
            self.sets[uri] = CachedShards(location, read_manifest(location), cache_folder(self.cache))
        shards = self.sets[uri]
        if shards.size != self.size:
            raise DataError(
                f"{uri} holds films of {shards.size} pixels, the network was trained at {self.size}",
                f"ingest the films with ingest.size={self.size}, or predict their files",
            )
        square, _ = read_film(map_shard(shards[row["shard"]]), row["row"], row["high"])
        grey = square.astype(np.float32) / np.float32(255 if square.dtype == np.uint8 else 1)
        image = np.rint(undo_letterbox(grey[None], row["height"], row["width"])[0] * 255).astype(np.uint8)
        return OpenedFilm(square, image, row["height"], row["width"], None)


def _shown(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Film as it is shown: stretched between its darkest and brightest half per cent."""
    return np.asarray(IntensityRule().apply(pixels)[0], np.uint8)
