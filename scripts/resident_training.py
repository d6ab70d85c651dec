"""The training step of a configuration, over and over on one batch that lies on the device already.

python scripts/resident_training.py CONFIG STEPS [KEY=VALUE]...

Prints the images per second of each epoch of so many steps.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from raycxr.config.load import load_config
from raycxr.dataset.films import Batch
from raycxr.dataset.loader import available_cpus
from raycxr.losses.choices import build_loss
from raycxr.prediction.compute import choose_compute
from raycxr.prediction.target import target_kind
from raycxr.storage.location import Location
from raycxr.training.allocator import keep_freed_memory
from raycxr.training.epoch import train_epoch
from raycxr.training.initial_state import initial_state
from raycxr.training.kernels import choose_kernels
from raycxr.training.mid_epoch import MidEpoch
from raycxr.training.progress import SilentProgress
from raycxr.training.session import LocalSession


def main() -> None:
    path = Path(sys.argv[1])
    config = load_config(path, sys.argv[3:])
    session = LocalSession(Location(path.parent / "resident"), 1, "max", resume=False, progress=SilentProgress())
    choose_kernels(config.train, session.device)
    if session.device.type == "cpu":
        keep_freed_memory()
    torch.set_num_threads(available_cpus())
    compute, target = choose_compute(config.train, session.device), target_kind(config.dataset, ["lungs"])
    steps, batch_size = int(sys.argv[2]), config.train.batch_size
    size = 0 if config.ingest is None else config.ingest.size
    state = initial_state(config, target, compute, steps)
    loss = build_loss(config.loss, config.dataset.target, config.loss_settings)
    shape = (batch_size, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8).to(compute.device)
    fields = torch.randint(0, 2, shape, dtype=torch.uint8).to(compute.device)
    batch = Batch(images, fields, ["film"] * batch_size, torch.ones(batch_size, dtype=torch.bool))
    mid_epoch = MidEpoch(config.train, session, steps, None, {})
    for epoch in range(config.train.epochs):
        started = time.perf_counter()
        train_epoch(
            state, state.model, [batch] * steps, loss, target, compute, session, epoch * steps, 1,
            config.optimizer.clip_norm, mid_epoch,
        )  # fmt: skip
        print(steps * batch_size / (time.perf_counter() - started))
    session.close()


if __name__ == "__main__":
    main()
