"""What a prediction leaves of a film: masks, pictures, run lengths, DICOM segmentations, maps of probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from raycxr.errors import DataError, UsageError
from raycxr.prediction.dicom_segmentation import encode_segmentation
from raycxr.prediction.film_picture import draw_findings
from raycxr.prediction.film_reader import OpenedFilm
from raycxr.storage.location import Location
from raycxr.xray.picture import encode_png
from raycxr.xray.run_length import encode_run_lengths

FORMATS = {
    "png": "masks/CLASS/NAME.png: 0 and 255, at the size of the film",
    "overlay": "overlays/NAME.png: the film with outlines and a legend",
    "rle": "run_lengths.csv: in the form of the SIIM-ACR competition",
    "dicom-seg": "segmentations/NAME.dcm: a DICOM segmentation that refers to the film",
    "probability": "probabilities/CLASS/NAME.png: 16 bits, 65535 is 1",
}


def parse_formats(given: Sequence[str]) -> tuple[str, ...]:
    """Check names of formats, also several with commas between them.

    Raises
    ------
    UsageError
        One is unknown.
    """
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"format {name!r} is unknown", f"choose among {', '.join(FORMATS)}")
    if not names:
        raise UsageError("no format is named", f"choose among {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


class Outputs:
    """Writes the results of films below one folder.

    Parameters
    ----------
    out : Location
    formats : sequence of str
        Of `FORMATS`.
    classes : sequence of str
    model : str
        What identifies the model in DICOM files.
    """

    def __init__(self, out: Location, formats: Sequence[str], classes: Sequence[str], model: str) -> None:
        self.out, self.formats, self.classes, self.model = out, tuple(formats), tuple(classes), model

    def write(
        self, name: str, film: OpenedFilm, masks: NDArray[np.bool_], probabilities: NDArray[np.float32]
    ) -> dict[str, Any]:
        """Write the files of one film.

        Parameters
        ----------
        masks : bool (C, H, W)
        probabilities : float32 (C, H, W)
            Of the classes.

        Returns
        -------
        dict
            `run_lengths` (class -> text), where they are asked for.

        Raises
        ------
        DataError
            A DICOM segmentation is asked for of a film that is no DICOM file.
        """
        if "dicom-seg" in self.formats:
            if film.dicom is None:
                raise DataError("dicom-seg needs a DICOM file, this is none", "leave out the format dicom-seg")
            data = encode_segmentation(film.dicom, masks, self.classes, self.model)
            (self.out / f"segmentations/{name}.dcm").write_bytes(data)
        for structure, mask, map_ in zip(self.classes, masks, probabilities, strict=True):
            if "png" in self.formats:
                self._picture(f"masks/{structure}/{name}", mask.astype(np.uint8) * np.uint8(255))
            if "probability" in self.formats:
                self._picture(f"probabilities/{structure}/{name}", np.rint(map_ * 65535).astype(np.uint16))
        if "overlay" in self.formats:
            drawn = draw_findings(film.image, masks, self.classes)
            self._picture(f"overlays/{name}", np.asarray(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), np.uint8))
        if "rle" not in self.formats:
            return {}
        texts = [encode_run_lengths(mask) for mask in masks]
        return {"run_lengths": dict(zip(self.classes, texts, strict=True))}

    def _picture(self, name: str, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        (self.out / f"{name}.png").write_bytes(encode_png(image))
