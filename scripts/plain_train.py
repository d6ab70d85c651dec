"""The plain loop that the framework is measured against: one file, no checkpoint, no record, no metric but Dice.

Same data, network, augmentation and precision as `raycxr train` of the same configuration. Prints the seconds of each
epoch, training and validation together, one number a line.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch.utils.data import DataLoader, Dataset

from raycxr.config.load import load_config
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.films import Films, open_splits, shard_paths


class Memory(Dataset):  # type: ignore[type-arg]
    """All films of a split in memory."""

    def __init__(self, films: Films, augment: Augmentation | None) -> None:
        self.items = [films[(0, position)] for position in range(len(films))]
        self.augment = augment

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        name, image, field, _ = self.items[position]
        if self.augment is not None:
            image, field = self.augment(image, field, np.random.randint(1_000_000), name)
        bits = np.stack([(field >> bit) & 1 for bit in range(3)]).astype(np.float32)
        return (torch.from_numpy(image.copy())[None].float() / 255 - 0.5) / 0.25, torch.from_numpy(bits)


def dice(probability: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    both = (probability * target).sum(dim=(2, 3))
    return ((2 * both + 1) / (probability.sum(dim=(2, 3)) + target.sum(dim=(2, 3)) + 1)).mean()


def main() -> None:
    config = load_config(sys.argv[1], sys.argv[2:])
    splits = open_splits(config)
    paths, size = shard_paths(splits, None), splits.manifest.geometry.size
    train = Memory(Films(splits.annotated("train"), paths, None), Augmentation(config.augment, 0, size))
    held_out = Memory(Films(splits.annotated("validation"), paths, None), None)
    batch = config.train.batch_size
    loader = DataLoader(train, batch, shuffle=True, num_workers=1, persistent_workers=True)
    validation = DataLoader(held_out, batch, num_workers=1, persistent_workers=True)
    model = smp.Unet(
        config.model.encoder,
        encoder_weights=None,
        in_channels=1,
        classes=3,
        decoder_channels=config.model.decoder_channels,
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), config.optimizer.lr)
    loss = torch.nn.BCEWithLogitsLoss()
    for _ in range(config.train.epochs):
        started = time.perf_counter()
        model.train()
        for images, targets in loader:
            logits = model(images.contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            (loss(logits, targets) + 1 - dice(logits.sigmoid(), targets)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for images, targets in validation:
                dice((model(images.contiguous(memory_format=torch.channels_last)) > 0).float(), targets)
        print(f"{time.perf_counter() - started:.3f}", flush=True)


if __name__ == "__main__":
    main()
