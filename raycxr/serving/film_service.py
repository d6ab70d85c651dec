"""One film after the other, from the bytes of its file to what was asked for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.errors import UsageError
from raycxr.postprocess.rule import apply_rules
from raycxr.prediction.decision import shared_rules
from raycxr.prediction.dicom_segmentation import encode_segmentation
from raycxr.prediction.film_picture import draw_findings
from raycxr.prediction.film_reader import FilmReader, OpenedFilm
from raycxr.prediction.predictor import load_predictor
from raycxr.storage.location import Location
from raycxr.xray.picture import encode_png
from raycxr.xray.resize import undo_letterbox
from raycxr.xray.run_length import encode_run_lengths

# Answer -> its media type.
ANSWERS = {
    "json": "application/json",
    "png": "image/png",
    "overlay": "image/png",
    "rle": "text/plain; charset=utf-8",
    "dicom-seg": "application/dicom",
}


@dataclass(frozen=True)
class Found:
    """What was found on a film: masks (C, H, W) bool, and the probabilities (C,) that it shows each class at all."""

    film: OpenedFilm
    masks: NDArray[np.bool_]
    image_probabilities: NDArray[np.float32] | None


class FilmService:
    """Networks that are loaded once. Calls from several threads wait for each other where the network computes.

    Parameters
    ----------
    networks : sequence of str
        URIs of bundles, whose probabilities are averaged.
    test_time : tuple of str or None
        As in `load_predictor`.

    Raises
    ------
    DataError, ConfigurationError
        A bundle is damaged, or they do not go together.
    """

    def __init__(self, networks: Sequence[str], test_time: tuple[str, ...] | None = None) -> None:
        self.predictor = load_predictor([Location(uri) for uri in networks], test_time)
        self.rules, self.classes = shared_rules(self.predictor.bundles), self.predictor.target.classes
        self.reader = FilmReader(self.predictor.size, self.predictor.bundles[0].intensity, None)
        self.model = hashlib.sha256("\n".join(networks).encode()).hexdigest()
        self.turn = threading.Lock()

    def find(self, data: bytes) -> Found:
        """Segment a film.

        Parameters
        ----------
        data : bytes
            A DICOM, PNG, JPEG or GIF file.

        Raises
        ------
        DataError
            It is damaged, or is none.
        """
        film = self.reader.decode(data)
        with self.turn:
            prediction = self.predictor.predict(torch.from_numpy(film.square)[None])
            maps = prediction.masks[0].cpu().numpy()
            of_image = None if prediction.images is None else prediction.images[0].cpu().numpy()
        return Found(film, apply_rules(self.rules, undo_letterbox(maps, film.height, film.width), of_image), of_image)

    def check(self, answer: str, structure: str | None) -> None:
        """Refuse what cannot be answered, before a film is looked at.

        Raises
        ------
        UsageError
            The kind of answer or the structure is unknown, or which of several structures is meant is not said.
        """
        if answer not in ANSWERS:
            raise UsageError(f"format {answer!r} is unknown", f"choose among {', '.join(ANSWERS)}")
        if structure is not None and structure not in self.classes:
            raise UsageError(f"structure {structure!r} is unknown", f"choose among {', '.join(self.classes)}")
        if answer in ("png", "rle") and structure is None and len(self.classes) > 1:
            raise UsageError(f"format {answer} is of one structure", f"add structure={self.classes[0]} or another one")

    def answer(self, found: Found, answer: str, structure: str | None) -> bytes:
        """Return what was asked for: `answer` of `ANSWERS`, and of one `structure` where it is a mask.

        Raises
        ------
        DataError
            A DICOM segmentation of a film that is no DICOM file, or whose header is not valid.
        """
        mask = found.masks[0 if structure is None else self.classes.index(structure)]
        if answer == "png":
            return encode_png(mask.astype(np.uint8) * np.uint8(255))
        if answer == "rle":
            return encode_run_lengths(mask).encode()
        if answer == "overlay":
            drawn = draw_findings(found.film.image, found.masks, self.classes)
            return encode_png(np.asarray(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), np.uint8))
        if answer == "dicom-seg":
            if found.film.dicom is None:
                raise UsageError("dicom-seg needs a DICOM file, this is none", "choose another format")
            return encode_segmentation(found.film.dicom, found.masks, self.classes, self.model)
        return json.dumps(self._document(found)).encode()

    def _document(self, found: Found) -> dict[str, object]:
        height, width = found.film.height, found.film.width
        structures = {}
        for number, (name, mask) in enumerate(zip(self.classes, found.masks, strict=True)):
            pixels = int(np.count_nonzero(mask))
            structures[name] = {
                "pixels": pixels,
                "share": round(pixels / mask.size, 6),
                "run_lengths": encode_run_lengths(mask),
            }
            if found.image_probabilities is not None:
                structures[name]["image_probability"] = round(float(found.image_probabilities[number]), 6)
        return {"height": height, "width": width, "structures": structures}
