"""A few validation films as the network sees them: drawn at each best epoch, always the same films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from raycxr.config.sections import Config
from raycxr.dataset.films import Batch, SplitIndex
from raycxr.prediction.target import TargetKind
from raycxr.xray.overlay import draw_overlay

TILE = 256
MOST_COLUMNS = 4
INK, PAPER = (235, 235, 235), (0, 0, 0)


@dataclass(frozen=True)
class OverlayFilm:
    """A film (H, W), its true masks and the predicted ones (C, H, W)."""

    id: str
    image: NDArray[Any]
    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_]


class Overlays:
    """Keeps films and predictions of the validation that is being made; no film is predicted a second time for it.

    Parameters
    ----------
    films : sequence of str
        Ids of the films, in the order in which they are shown.
    target : TargetKind
    """

    def __init__(self, films: Sequence[str], target: TargetKind) -> None:
        self.films, self.target = films, target
        self.kept: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def keep(self, batch: Batch, logits: torch.Tensor) -> None:
        """Keep what is wanted of a batch and its logits (B, channels, H, W)."""
        for number, film in enumerate(batch.ids):
            if film in self.films:
                predicted = self.target.predict(self.target.activate(logits[number, None]))
                truth = self.target.split(batch.fields[number, None])
                # The batch itself need not stay in memory.
                self.kept[film] = batch.images[number].clone(), truth[0], predicted[0]

    def taken(self) -> list[OverlayFilm]:
        """Films of the last validation, on the host."""
        return [OverlayFilm(film, *(part.cpu().numpy() for part in self.kept[film])) for film in self.films]


def watched_films(config: Config, splits: SplitIndex, target: TargetKind, world_size: int) -> Overlays | None:
    """Films that the first of so many workers keeps, spread evenly over its share of the split; None for no films."""
    tracking = config.tracking
    if not tracking.overlays or not (tracking.tensorboard or tracking.mlflow):
        return None
    own = [row["id"] for row in splits.annotated("validation")][::world_size]
    places = np.linspace(0, len(own) - 1, min(tracking.overlays, len(own))).round().astype(int)
    return Overlays([own[place] for place in places], target)


def draw_sheet(films: Sequence[OverlayFilm]) -> NDArray[np.uint8]:
    """Draw all films beside each other, each with its id: RGB (H, W, 3) uint8; true outlines are white."""
    columns = min(MOST_COLUMNS, len(films))
    sheet = np.zeros((-(-len(films) // columns) * TILE, columns * TILE, 3), np.uint8)
    for number, film in enumerate(films):
        top, left = number // columns * TILE, number % columns * TILE
        tile = draw_overlay(film.image, film.truth, film.predicted, TILE)
        # White in black, to be read on dark and on light films.
        for colour, width in ((PAPER, 3), (INK, 1)):
            cv2.putText(tile, film.id[-30:], (6, TILE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, width, cv2.LINE_AA)
        sheet[top : top + TILE, left : left + TILE] = tile
    return sheet


def overlay_name(epoch: int) -> str:
    """Name of the picture of an epoch."""
    return f"epoch_{epoch:04d}.png"


def encode_png(sheet: NDArray[np.uint8]) -> bytes:
    """PNG of an RGB picture."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1])
