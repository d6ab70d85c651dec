"""TensorBoard of a run: its configuration, curves, and overlays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raycxr.config.load import to_yaml
from raycxr.config.sections import Config
from raycxr.storage.location import Location

FOLDER = "tensorboard"


class Curves:
    """Writes event files into `<run>/tensorboard/`; to object storage by copying them after each epoch."""

    def __init__(self, run: Location, config: Config) -> None:
        self.config = config
        self.folder = run / FOLDER
        self.temporary = None if self.folder.is_local else TemporaryDirectory()
        self.local = self.folder.local_path if self.temporary is None else Path(self.temporary.name)
        self.writer: Any = None

    def add(self, entry: Mapping[str, Any], overlays: NDArray[np.uint8] | None) -> None:
        """Add one epoch of the history, and a picture (H, W, 3) of validation films where there is one."""
        epoch = entry["epoch"]
        if self.writer is None:
            self._open(epoch)
        self.writer.add_scalar("learning_rate", entry["lr"], epoch)
        for name in ("images_per_second", "data_wait"):
            if name in entry:
                self.writer.add_scalar(name, entry[name], epoch)
        for split in ("train", "validation"):
            for name, value in entry[split].items():
                if isinstance(value, Mapping):
                    for inner, number in value.items():
                        self.writer.add_scalar(f"{name}_{inner}/{split}", number, epoch)
                elif name != "images":
                    self.writer.add_scalar(f"{name}/{split}", value, epoch)
        if overlays is not None:
            self.writer.add_image("validation films, true outlines white", overlays, epoch, dataformats="HWC")
        self.writer.flush()
        if self.temporary is not None:
            for events in self.local.iterdir():
                (self.folder / events.name).copy_from(events)

    def _open(self, epoch: int) -> None:
        # Importing TensorBoard takes a second, which must not delay the first step.
        from torch.utils.tensorboard import SummaryWriter

        # Epochs from here on that were trained before, and are now trained again, are not shown twice.
        self.writer = SummaryWriter(str(self.local), purge_step=epoch)
        # Four spaces are Markdown for text as it stands.
        text = "".join(f"    {line}\n" for line in to_yaml(self.config).splitlines())
        self.writer.add_text("configuration", text, epoch)

    def close(self) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()
        if self.temporary is not None:
            self.temporary.cleanup()
