"""The batches of a run: those of the training films and those of the validation films of one worker."""

from __future__ import annotations

from dataclasses import dataclass

from raycxr.config.sections import Config
from raycxr.dataset.augment import Augmentation
from raycxr.dataset.device_augment import DeviceAugmentation
from raycxr.dataset.films import Films, SplitIndex, shard_paths
from raycxr.dataset.loader import BatchLoader, EvaluationSampler, TrainSampler, default_loader_workers
from raycxr.dataset.torch_loader import TorchLoader
from raycxr.prediction.compute import Compute
from raycxr.training.config_check import epoch_order
from raycxr.training.device_batches import DeviceBatches
from raycxr.training.session import Session


@dataclass(frozen=True)
class Loaders:
    """Batches of both splits, and the sampler that has to know the epoch."""

    train_sampler: TrainSampler
    train: BatchLoader
    validation: BatchLoader


def make_loaders(config: Config, splits: SplitIndex, session: Session, compute: Compute, cpus: int) -> Loaders:
    """Loaders of one worker.

    Parameters
    ----------
    cpus : int
        CPUs of this worker, loading processes included.
    """
    paths = shard_paths(splits, config.dataset.cache)
    announcement = paths.announcement()
    if announcement is not None:
        session.progress.tell(announcement)
    train_rows, validation_rows = splits.annotated("train"), splits.annotated("validation")
    train, parts = config.train, config.train.passes
    order = epoch_order(config, splits)
    sampler = TrainSampler(order, train.batch_size, parts, session.rank, session.world_size)
    per_pass = train.batch_size // (parts * session.world_size)
    validation_sampler = EvaluationSampler(len(validation_rows), per_pass, session.rank, session.world_size)
    on_gpu = compute.device.type == "cuda"
    workers = train.loader_workers if train.loader_workers is not None else default_loader_workers(cpus, on_gpu)
    # Without changes, a film is one copy out of the node's cache: validation is not worth a way through other nodes.
    validation = TorchLoader(Films(validation_rows, paths, None), validation_sampler, min(workers, 2), on_gpu)
    films = Films(train_rows, paths, loader_augmentation(config, splits))
    streamed = session.stream(splits, sampler, on_gpu)
    batches = TorchLoader(films, sampler, workers, on_gpu) if streamed is None else streamed
    on_device = config.augment.where == "device"
    augmentation = DeviceAugmentation(config.augment, train.seed) if on_device else None
    return Loaders(
        sampler,
        DeviceBatches(batches, compute.device, augmentation),
        DeviceBatches(validation, compute.device, None),
    )


def loader_augmentation(config: Config, splits: SplitIndex) -> Augmentation | None:
    """Random changes that are made film by film, where films are read."""
    if config.augment.where == "device":
        return None
    return Augmentation(config.augment, config.train.seed, splits.manifest.geometry.size)
