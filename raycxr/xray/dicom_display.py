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

from raycxr.errors import DataError

Grey: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]


def stored_codes(frame: Grey, film: Dataset) -> Grey:
    """Cut the stored bits out of a frame of shape (H, W): 0 to ``2**BitsStored - 1``.

    What older films keep above them (overlays, retired in 2004) is dropped. 8 bits if so many are stored.
    """
    bits = _bits(film)
    return _grey(frame & frame.dtype.type(2**bits - 1) if 8 * frame.itemsize > bits else frame, bits)


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
        values = _apply_modality(stored.astype(np.float64), film)
        if film.get("VOILUTSequence"):
            values = _look_up(values, film.VOILUTSequence[0], film)
        elif window:
            values = _apply_window(values, *window)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
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


def _apply_modality(values: NDArray[np.float64], film: Dataset) -> NDArray[np.float64]:
    """Map stored values as PS3.3, C.11.1 defines: by a LUT, or by slope and intercept."""
    if film.get("ModalityLUTSequence"):
        return _look_up(values, film.ModalityLUTSequence[0], film)
    slope, intercept = _first(film.get("RescaleSlope")), _first(film.get("RescaleIntercept"))
    return values * (1.0 if slope is None else slope) + (intercept or 0.0)


def _look_up(values: NDArray[np.float64], item: Dataset, film: Dataset) -> NDArray[np.float64]:
    """Map values by a LUT (PS3.3, C.11.1.1 and C.11.2.1.1); those beyond its ends get its first and last entry.

    Entries of up to 8 bits may be packed two to a word, which only their number of bytes tells.
    """
    entries, first, _ = (int(number) for number in item.LUTDescriptor)
    entries = entries or 2**16
    if first >= 2**15 and values.min() < 0:
        first -= 2**16
    data = item.LUTData
    order = "<" if film.original_encoding[1] else ">"
    if not isinstance(data, bytes):
        data = np.asarray(data, f"{order}u2").tobytes()
    table = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * entries else np.uint8)
    if len(table) < entries:
        raise ValueError(f"{len(table)} of {entries} entries")
    return np.asarray(table[np.clip(np.rint(values) - first, 0, entries - 1).astype(int)], np.float64)


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
    ends = sorted(_as_signed(int(end), stored) for end in (value, value if limit is None else limit))
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _as_signed(value: int, stored: NDArray[Any]) -> int:
    """Some films write a negative value as the unsigned one with the same bits."""
    return value - 2**16 if value >= 2**15 and stored.min() < 0 else value


def _first(value: Any) -> float | None:
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)
