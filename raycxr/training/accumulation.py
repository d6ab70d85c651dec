"""How many forward passes make an optimizer step, where a configuration leaves that to the memory there is.

`train.batch_size` stays what it is, so that a run learns the same on a large and on a small GPU but for the order of
summation and the films that a batch norm sees at once. A run that continues takes the number of films that it had.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from raycxr.config.model import ModelSection
from raycxr.config.sections import Config
from raycxr.errors import TrainingError
from raycxr.models.choices import build_model, fewest_films
from raycxr.models.image_head import split_output
from raycxr.models.recomputation import activation_bytes, recompute_activations
from raycxr.number_text import count
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import TargetKind
from raycxr.training.session import Session

# Key of a checkpoint: films of one forward pass of one worker.
FILMS_PER_PASS = "films_per_pass"
# Of the memory that is free, what a step may take: the rest is for losses, workspaces and other films than the first.
SHARE = 0.85
# Copies of the weights beside the network itself: gradients, their exchange, two moments, an average.
COPIES = 5


def with_fixed_passes(
    config: Config,
    target: TargetKind,
    size: int,
    compute: Compute,
    session: Session,
    snapshot: Mapping[str, Any] | None,
) -> Config:
    """Configuration whose `train.accumulate` is a number, the same on all workers.

    On a GPU each candidate is tried by a forward and a backward pass; on a CPU, where running out of memory ends the
    process, the bytes of a pass are added up beforehand, as in float32.

    Parameters
    ----------
    size : int
        Height and width of the films in pixels.
    snapshot : mapping or None
        Checkpoint that the run continues from.

    Raises
    ------
    TrainingError
        Not even the smallest pass fits.
    """
    if config.train.accumulate != "auto":
        return config
    share = config.train.batch_size // session.world_size
    known = None if snapshot is None else snapshot.get(FILMS_PER_PASS)
    if known is not None and share % known == 0:
        return _with_passes(config, share // known)
    fewest = fewest_films(config.model)
    candidates = [passes for passes in range(1, share // fewest + 1) if share % passes == 0]
    votes = torch.zeros(len(candidates) + 1, dtype=torch.float64, device=compute.device)
    votes[_first_that_fits(config, target, size, compute, session, [share // passes for passes in candidates])] = 1
    # The worker with the least memory decides.
    chosen = int(session.add_up(votes).nonzero().max())
    if chosen == len(candidates):
        raise TrainingError(
            f"the memory of {compute.device} does not hold a forward pass of {count(fewest, 'film')} of {size} pixels",
            "choose a smaller network or ingest.size, or set train.checkpoint_activations=true",
        )
    passes = candidates[chosen]
    session.progress.tell(
        f"train.accumulate = {passes}: each worker makes a step of {count(share, 'film')} from "
        f"{count(share // passes, 'film')} at a time"
    )
    return _with_passes(config, passes)


def out_of_memory(films: int) -> TrainingError:
    """What a user is told where a GPU could not hold a pass of so many films."""
    return TrainingError(
        f"the GPU's memory does not hold a forward pass of {count(films, 'film')}",
        "set train.accumulate=auto, which finds how many it holds, or train.checkpoint_activations=true",
    )


def _with_passes(config: Config, passes: int) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"accumulate": passes})})


def _first_that_fits(
    config: Config, target: TargetKind, size: int, compute: Compute, session: Session, films: list[int]
) -> int:
    """Index of the first number of films that a pass on this worker can have; their count where there is none."""
    # The weights do not matter here: none are fetched.
    settings = ModelSection(**(config.model.model_dump() | {"encoder_weights": None}))
    network = build_model(settings, 1, target.channels, len(target.classes)).train()
    per_film = (
        recompute_activations(network, 1, size)
        if config.train.checkpoint_activations
        else activation_bytes(network, 1, size)
    )
    further = COPIES * sum(tensor.nbytes for tensor in network.state_dict().values())
    if compute.device.type == "cuda":
        network = compute.place(network)
        fitting = (index for index, number in enumerate(films) if _fits_gpu(network, number, size, compute, further))
    else:
        room = SHARE * free_memory() / int(os.environ.get("LOCAL_WORLD_SIZE", session.world_size))
        fitting = (index for index, number in enumerate(films) if further + number * per_film <= room)
    return next(fitting, len(films))


def _fits_gpu(network: nn.Module, films: int, size: int, compute: Compute, further: int) -> bool:
    """Try a forward and a backward pass; `further` bytes must stay free beside what it takes."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(compute.device)
    free = torch.cuda.mem_get_info(compute.device)[0] + torch.cuda.memory_reserved(compute.device)
    try:
        _try_pass(network, films, size, compute)
    except torch.OutOfMemoryError:
        return False
    finally:
        network.zero_grad(set_to_none=True)
    needed = torch.cuda.max_memory_reserved(compute.device) + further
    torch.cuda.empty_cache()
    return needed <= SHARE * free


def _try_pass(network: nn.Module, films: int, size: int, compute: Compute) -> None:
    images = compute.arrange(torch.rand(films, 1, size, size, device=compute.device))
    with compute.autocast():
        logits, image_logits = split_output(network(images))
    # Float32 logits and as much again, as losses have them.
    total = logits.float().sigmoid().mean()
    if image_logits is not None:
        total = total + image_logits.float().mean()
    total.backward()  # type: ignore[no-untyped-call]


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of main memory that this process may still take: what is available, within the limit of its container.

    Parameters
    ----------
    root : Path
        Below which `proc` and `sys` are.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    group = root / "sys/fs/cgroup"
    try:
        limit, taken = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        cache = next(
            int(line.split()[1])
            for line in (group / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
    except (OSError, StopIteration):
        return available
    return available if limit == "max" else min(available, int(limit) - taken + cache)
