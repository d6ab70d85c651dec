"""The loop of the source projects that the defaults are measured against: everything in one process, in float32.

    python scripts/plain_fp32.py FILMS --network unet --encoder resnet18 --size 256 --batch 8 --epochs 3

FILMS is a folder with `images/` and `masks/` of PNG files of the same names. Films are decoded and augmented between
the steps, masks are float32 channels, the memory format is torch's own, Adam is not fused, and loss and Dice are read
from the device at every step. Prints the training images per second of each epoch, one number a line.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from raycxr.config.augment import AugmentSection
from raycxr.dataset.transforms import compose


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Films and masks, decoded whenever they are asked for."""

    def __init__(self, folder: Path, size: int) -> None:
        self.images = sorted((folder / "images").iterdir())
        self.folder, self.size = folder, size
        self.augment = compose(AugmentSection(), size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        path = self.images[number]
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(self.folder / "masks" / path.name), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        assert mask is not None
        image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (self.size, self.size), interpolation=cv2.INTER_NEAREST)
        changed = self.augment(image=image, mask=mask)
        film = (torch.from_numpy(changed["image"])[None].float() / 255 - 0.5) / 0.25
        return film, torch.from_numpy((changed["mask"] > 0).astype(np.float32))[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    loader = DataLoader(Pairs(options.films, options.size), options.batch, shuffle=True, drop_last=True)
    model = smp.create_model(options.network, options.encoder, encoder_weights=None, in_channels=1, classes=1)
    model = model.to(options.device).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    criterion = torch.nn.BCEWithLogitsLoss()
    for _ in range(options.epochs):
        started, losses, dices = time.perf_counter(), 0.0, 0.0
        for images, masks in loader:
            images, masks = images.to(options.device), masks.to(options.device)
            optimizer.zero_grad()
            logits = model(images)
            loss = criterion(logits, masks)
            loss.backward()
            optimizer.step()
            predicted = (logits > 0).float()
            losses += loss.item()
            dices += (2 * (predicted * masks).sum() / (predicted.sum() + masks.sum() + 1)).item()
        print(f"{len(loader) * options.batch / (time.perf_counter() - started):.4f}", flush=True)


if __name__ == "__main__":
    main()
