"""Batches on the device where the network computes, each brought there while the one before is computed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from raycxr.dataset.device_augment import DeviceAugmentation
from raycxr.dataset.films import Batch
from raycxr.dataset.loader import BatchLoader


class DeviceBatches:
    """Batches of a loader, moved to a device and augmented there; see `BatchLoader`.

    On a GPU, copies and augmentation have a stream of their own beside that of the network. On a CPU batches pass
    through.

    Parameters
    ----------
    loader : BatchLoader
        With pinned batches where `device` is a GPU: others would be copied before the call returns.
    device : torch.device
    augmentation : DeviceAugmentation or None
        Random changes; None where the loader makes them, or nobody.
    """

    def __init__(self, loader: BatchLoader, device: torch.device, augmentation: DeviceAugmentation | None) -> None:
        self.loader, self.device, self.augmentation = loader, device, augmentation

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        # Asked for here, not with the first batch: loading begins now.
        batches = iter(self.loader)
        return self._ahead(batches) if self.device.type == "cuda" else map(self._augmented, batches)

    def _ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        coming = self._move(next(batches, None), stream)
        while coming is not None:
            batch, moved = coming
            # Before this one is computed with, so that the copy of the next runs beside it.
            coming = self._move(next(batches, None), stream)
            current = torch.cuda.current_stream(self.device)
            current.wait_event(moved)
            for tensor in (batch.images, batch.fields):
                # Its memory belongs to the other stream, which must not use it again before this one is done with it.
                tensor.record_stream(current)
            yield batch

    def _move(self, batch: Batch | None, stream: torch.cuda.Stream) -> tuple[Batch, torch.cuda.Event] | None:
        if batch is None:
            return None
        with torch.cuda.stream(stream):
            images = batch.images.to(self.device, non_blocking=True)
            fields = batch.fields.to(self.device, non_blocking=True)
            moved = self._augmented(replace(batch, images=images, fields=fields))
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(stream)
        return moved, event

    def _augmented(self, batch: Batch) -> Batch:
        return batch if self.augmentation is None else self.augmentation(batch)
