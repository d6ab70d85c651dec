"""Phantom data sets in the genuine layouts, so that everything can be tried without patient data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from raycxr.sources.synth_jsrt import jsrt_name, write_jsrt
from raycxr.sources.synth_siim import write_siim_dicom, write_siim_png
from raycxr.sources.synth_tb import write_montgomery, write_shenzhen, write_tb_mirror
from raycxr.sources.synth_writer import Progress, SynthSummary, eight_bits, encode_mask, require_empty, write_films
from raycxr.storage.location import Location
from raycxr.xray.phantom import draw_phantom
from raycxr.xray.picture import encode_png

__all__ = ["LAYOUTS", "jsrt_name", "write_jsrt", "write_pairs"]

_PAIRS_SIDE = 512


def write_pairs(out: Location, count: int, size: int | None, seed: int, progress: Progress) -> SynthSummary:
    """Write phantoms as PNG films ``images/phantom0001.png`` and masks of both lungs ``masks/phantom0001.png``.

    Parameters are those of `raycxr.sources.synth_jsrt.write_jsrt`; `size` is that of both (512 where None).
    """
    require_empty(out)
    write_films(partial(_write_pair, out, size or _PAIRS_SIDE, seed), range(count), progress)
    return SynthSummary("pairs", count, count)


LAYOUTS: dict[str, Callable[[Location, int, int | None, int, Progress], SynthSummary]] = {
    "siim-dicom": write_siim_dicom,
    "siim-png": write_siim_png,
    "jsrt": write_jsrt,
    "montgomery": write_montgomery,
    "shenzhen": write_shenzhen,
    "tb-mirror": write_tb_mirror,
    "pairs": write_pairs,
}


def _write_pair(out: Location, size: int, seed: int, number: int) -> None:
    phantom = draw_phantom(np.random.default_rng([seed, number]), size)
    lungs = phantom.masks["left lung"] | phantom.masks["right lung"]
    name = f"phantom{number + 1:04d}.png"
    (out / "masks" / name).write_bytes(encode_mask(lungs))
    (out / "images" / name).write_bytes(encode_png(eight_bits(phantom.image)))
