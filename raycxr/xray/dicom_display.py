"""From stored values to grey levels for display: the pipeline of PS3.4, N.2, as one table.

Modality LUT, VOI LUT or window, and photometric interpretation look at single values only, and a film
has at most 65,536 different ones. So they are computed once per value, not once per pixel.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from raycxr.errors import DataError

Grey: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]


def stored_codes(frame: Grey, film: Dataset) -> Grey:
    """Cut the stored bits out of a frame of shape (H, W): 0 to ``2**BitsStored - 1``.

    What older films keep beside them (overlays, retired in 2004) is dropped. 8 bits if so many are stored.
    """
    bits = _bits(film)
    shift = max(0, int(film.get("HighBit", bits - 1)) + 1 - bits)
    codes: NDArray[Any] = frame
    if shift or 8 * frame.itemsize > bits:
        codes = (frame >> shift) & frame.dtype.type(2**bits - 1)
    return _grey(codes, bits)


def display_table(film: Dataset) -> Grey | None:
    """Return the grey level of each stored code, or None where all are their own.

    Parameters
    ----------
    film : Dataset
        With BitsStored, PixelRepresentation and PhotometricInterpretation; the others are optional.

    Returns
    -------
    uint8 or uint16 array (2**BitsStored,)
        0 (black) to ``2**BitsStored - 1`` (white). Values outside of the window are cut off; without a window or VOI
        LUT, the whole range of the film's format is kept. Of several windows or LUTs the first counts, and a LUT comes
        before a window. A window without width counts for nothing.

    Raises
    ------
    DataError
        If the LUTs contradict themselves or make every value the same.
    """
    bits = _bits(film)
    codes = np.arange(2**bits, dtype=np.int32)
    signed = film.get("PixelRepresentation", 0) == 1
    stored = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes) if signed else codes
    window = _window(film)
    dark_is_bright = film.PhotometricInterpretation == "MONOCHROME1"
    padding = _padding(film, stored)
    plain = ("ModalityLUTSequence", "RescaleSlope", "VOILUTSequence")
    if not (signed or window or dark_is_bright or padding.any() or any(film.get(name) for name in plain)):
        return None
    try:
        values = np.asarray(apply_modality_lut(stored, film), np.float64)
        if film.get("VOILUTSequence"):
            values = np.asarray(apply_voi(values.astype(np.int64), film), np.float64)
        elif window:
            values = _apply_window(values, *window)
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError):
        # What pydicom says may quote elements of the header.
        raise DataError("the LUTs of the film are damaged", "replace the file by an undamaged copy") from None
    low, high = (0.0, 1.0) if window and not film.get("VOILUTSequence") else (values.min(), values.max())
    if not low < high:
        raise DataError("the LUTs of the film make every value the same", "replace the file by an undamaged copy")
    white = 2**bits - 1
    levels = np.rint((values - low) / (high - low) * white)
    if dark_is_bright:
        levels = white - levels
    # Pixels beside the film, whatever they were filled with.
    levels[padding] = 0
    return _grey(levels, bits)


def _grey(levels: NDArray[Any], bits: int) -> Grey:
    return levels.astype(np.uint8, copy=False) if bits <= 8 else levels.astype(np.uint16, copy=False)


def _bits(film: Dataset) -> int:
    return int(film.get("BitsStored", film.BitsAllocated))


def _window(film: Dataset) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window, if it has a width."""
    centre, width = (_first(film.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = str(film.get("VOILUTFunction") or "LINEAR").strip().upper()
    if centre is None or width is None or width < (1 if function == "LINEAR" else np.finfo(float).tiny):
        return None
    return centre, width, function


def _apply_window(values: NDArray[np.float64], centre: float, width: float, function: str) -> NDArray[np.float64]:
    """Map to 0 (black) to 1 (white) as PS3.3, C.11.2.1.2 and C.11.2.1.3 define."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width == 1:
        return np.asarray(values > centre - 0.5, np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _padding(film: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Which stored values mark pixels beside the film (PS3.3, C.7.5.1.1.2)."""
    value = film.get("PixelPaddingValue")
    if value is None:
        return np.zeros(len(stored), dtype=bool)
    limit = film.get("PixelPaddingRangeLimit")
    ends = sorted((int(value), int(value if limit is None else limit)))
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _first(value: Any) -> float | None:
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)
