"""Batches on their way to the device; on a CPU they pass through, augmented where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from raycxr.config.augment import AugmentSection
from raycxr.dataset.device_augment import DeviceAugmentation
from raycxr.dataset.films import Batch, Key
from raycxr.training.device_batches import DeviceBatches

CPU = torch.device("cpu")


class Listed:
    """Batches that are there, and whether anybody has asked for them."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches, self.asked = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        self.asked += 1
        return iter(self.batches)


def batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 2, 16, 16), dtype=torch.uint8, generator=generator)
    keys = [[Key(1, 2 * number), Key(1, 2 * number + 1)] for number in range(count)]
    return [
        Batch(images[number], images[number] % 2, [f"a{number}", f"b{number}"], torch.tensor([True, False]), own)
        for number, own in enumerate(keys)
    ]


def test_on_a_cpu_batches_pass_through_in_order() -> None:
    given = Listed(batches(5))
    moved = DeviceBatches(given, CPU, None)
    assert len(moved) == 5
    assert all(one is other for one, other in zip(moved, given.batches, strict=True))


def test_loading_begins_before_the_first_batch_is_asked_for() -> None:
    given = Listed(batches(1))
    iter(DeviceBatches(given, CPU, None))
    assert given.asked == 1


def test_batches_are_augmented_and_keep_what_is_no_pixel() -> None:
    augmentation = DeviceAugmentation(AugmentSection(), 0)
    given = batches(3)
    for before, after in zip(given, DeviceBatches(Listed(given), CPU, augmentation), strict=True):
        assert (after.ids, after.keys, after.annotated) == (before.ids, before.keys, before.annotated)
        assert torch.equal(after.images, augmentation(before).images)
        assert not torch.equal(after.images * 255, before.images.float())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_same_batches_arrive() -> None:
    given = batches(20)
    pinned = [Batch(b.images.pin_memory(), b.fields.pin_memory(), b.ids, b.annotated, b.keys) for b in given]
    device = torch.device("cuda")
    for before, after in zip(given, DeviceBatches(Listed(pinned), device, None), strict=True):
        assert after.images.device.type == "cuda"
        assert torch.equal(after.images.cpu(), before.images)
        assert torch.equal(after.fields.cpu(), before.fields)
        assert after.annotated.device == CPU
