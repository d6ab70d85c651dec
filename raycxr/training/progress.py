"""How a run shows itself: a bar within the epoch on a terminal, and one line per epoch everywhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from tqdm import tqdm

from raycxr.number_text import count

# Shown after the Dice where some films do not have the structure.
PRESENCE = {"floor": "floor", "dice_positive": "positives", "negatives_empty": "left empty", "auc": "AUC"}


class EpochProgress(Protocol):
    """Shown by rank 0 while it trains."""

    def start(self, epoch: int, epochs: int, steps: int) -> None:
        """An epoch begins."""

    def step(self) -> None:
        """A step is done."""

    def end(self, entry: Mapping[str, Any], epochs: int) -> None:
        """The epoch is done, with its entry of the history."""

    def tell(self, line: str) -> None:
        """Something that is not about an epoch."""


class TerminalProgress:
    """On this process's standard error."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None
        self.announced = False

    def start(self, epoch: int, epochs: int, steps: int) -> None:
        """Open the bar, on a terminal only."""
        self.bar = tqdm(
            total=steps,
            desc=f"epoch {epoch}/{epochs}" if epoch <= epochs else "mean of the last epochs",
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def step(self) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update()
            self._announce(self.bar)

    def move_to(self, step: int) -> None:
        """Move the bar to a step, counted from 0."""
        if self.bar is not None and step > 0:
            self.bar.n = step
            self.bar.refresh()
            self._announce(self.bar)

    def _announce(self, bar: tqdm[Any]) -> None:
        """Where there is no bar to see, say once that the first step is done."""
        if bar.disable and not self.announced:
            print(f"training: {count(int(bar.total or 0), 'step')} an epoch", file=sys.stderr, flush=True)
        self.announced = True

    def end(self, entry: Mapping[str, Any], epochs: int) -> None:
        """Replace the bar by the epoch's line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        self.tell(epoch_line(entry, epochs))

    def tell(self, line: str) -> None:
        """Print it."""
        print(line, file=sys.stderr, flush=True)


class SilentProgress:
    """Of every rank but the first."""

    def start(self, epoch: int, epochs: int, steps: int) -> None:
        """Show nothing."""

    def step(self) -> None:
        """Show nothing."""

    def end(self, entry: Mapping[str, Any], epochs: int) -> None:
        """Show nothing."""

    def tell(self, line: str) -> None:
        """Show nothing."""


def _speed(entry: Mapping[str, Any]) -> str:
    """Nothing where no film was trained on: the mean of networks without batch statistics takes no pass."""
    images = entry["images_per_second"]
    if not images:
        return ""
    waiting = f", {100 * entry['data_wait']:.0f} % waiting for data" if "data_wait" in entry else ""
    return f"{images:.{0 if images >= 100 else 1}f} images/s{waiting}  "


def epoch_line(entry: Mapping[str, Any], epochs: int) -> str:
    """One line about an epoch, from its entry of the history."""
    validation = entry["validation"]
    dice = " ".join(f"{name} {value:.3f}" for name, value in validation["dice"].items() if name != "mean")
    presence = [f"{title} {validation[name]['mean']:.3f}  " for name, title in PRESENCE.items() if name in validation]
    width = len(str(epochs))
    head = (
        f"mean of the weights of the last {entry['swa_epochs']} epochs"
        if "swa_epochs" in entry
        else f"epoch {entry['epoch']:>{width}}/{epochs}  loss {entry['train']['loss']:.4f}"
    )
    return (
        f"{head}  validation loss {validation['loss']:.4f}  Dice {validation['dice']['mean']:.4f} ({dice})  "
        f"{''.join(presence)}"
        f"{_speed(entry)}{entry['seconds']:.1f} s{'  best' if entry['best'] else ''}"
    )
