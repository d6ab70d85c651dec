"""TensorBoard curves of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raycxr.storage.location import Location

FOLDER = "tensorboard"


class Curves:
    """Writes event files into `<run>/tensorboard/`; to object storage by copying them after each epoch."""

    def __init__(self, run: Location) -> None:
        self.folder = run / FOLDER
        self.temporary = None if self.folder.is_local else TemporaryDirectory()
        self.local = self.folder.local_path if self.temporary is None else Path(self.temporary.name)
        self.writer: Any = None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add one epoch of the history."""
        if self.writer is None:
            # Importing TensorBoard takes a second, which must not delay the first step.
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.local))
        epoch = entry["epoch"]
        self.writer.add_scalar("learning_rate", entry["lr"], epoch)
        self.writer.add_scalar("images_per_second", entry["images_per_second"], epoch)
        for split in ("train", "validation"):
            for name, value in entry[split].items():
                if isinstance(value, Mapping):
                    for inner, number in value.items():
                        self.writer.add_scalar(f"{name}_{inner}/{split}", number, epoch)
                elif name != "images":
                    self.writer.add_scalar(f"{name}/{split}", value, epoch)
        self.writer.flush()
        if self.temporary is not None:
            for events in self.local.iterdir():
                (self.folder / events.name).copy_from(events)

    def close(self) -> None:
        """Close the event file."""
        if self.writer is not None:
            self.writer.close()
        if self.temporary is not None:
            self.temporary.cleanup()
