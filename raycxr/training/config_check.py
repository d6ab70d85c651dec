"""Whether a configuration can be trained on its data set, told before anything is started."""

from __future__ import annotations

import math

from raycxr.config.resources import Workers, world_sizes
from raycxr.config.sections import Config
from raycxr.dataset.device_augment import check_device_augmentation
from raycxr.dataset.films import SplitIndex, check_trainable
from raycxr.dataset.sampling import EpochOrder, build_order
from raycxr.errors import ConfigurationError
from raycxr.losses.choices import build_loss, check_image_loss
from raycxr.models.choices import check_model, fewest_films, size_divisor, smallest_size
from raycxr.number_text import count
from raycxr.prediction.target import TargetKind, target_kind
from raycxr.training.metric_check import check_metric
from raycxr.training.rule_search import training_rules
from raycxr.training.start import check_start


def check_trainable_config(config: Config, splits: SplitIndex, workers: Workers) -> TargetKind:
    """Find what is wrong with a configuration before anything is started.

    Parameters
    ----------
    workers : int or (int, int)
        Workers that train together, or the least and the most of them.

    Raises
    ------
    ConfigurationError, DataError
        Film size, batch size, loss, metric or classes do not fit.
    """
    check_trainable(splits)
    target = target_kind(config.dataset, splits.manifest.classes)
    check_model(config.model)
    build_loss(config.loss, config.dataset.target, config.loss_settings)
    check_image_loss(config.loss, config.model.image_head)
    check_start(config, target, splits)
    epoch_order(config, splits)
    if config.augment.where == "device":
        check_device_augmentation(config.augment)
    training_rules(config, target)
    size, divisor = splits.manifest.geometry.size, size_divisor(config.model)
    if size % divisor:
        raise ConfigurationError(
            f"films are {size}x{size} pixels, {config.model.name} needs a multiple of {divisor}",
            f"ingest with ingest.size={max(divisor, size // divisor * divisor)}",
        )
    if size < smallest_size(config.model):
        raise ConfigurationError(
            f"films are {size}x{size} pixels, {config.model.name} needs {smallest_size(config.model)} or more",
            f"ingest with ingest.size={smallest_size(config.model)}",
        )
    _check_shares(config, world_sizes(workers))
    check_metric(config, target, splits)
    return target


def _check_shares(config: Config, sizes: range) -> None:
    """Refuse a batch that some number of workers cannot share."""
    batch, accumulate = config.train.batch_size, config.train.passes
    for workers in sizes:
        if batch % (workers * accumulate):
            raise ConfigurationError(
                f"train.batch_size = {batch} cannot be shared by {count(workers, 'worker')}"
                f" x {count(accumulate, 'accumulation step')}",
                f"choose a multiple of {math.lcm(*sizes) * accumulate}",
            )
    shares = sizes[-1] * accumulate
    if batch // shares < fewest_films(config.model):
        raise ConfigurationError(
            f"train.batch_size = {batch} leaves one film to a forward pass,"
            f" and the batch norm of {config.model.name} needs two",
            f"choose {math.lcm(*(2 * size for size in sizes)) * accumulate} or more, or model.norm=group",
        )


def epoch_order(config: Config, splits: SplitIndex) -> EpochOrder:
    """Which films each epoch takes, in which order."""
    rows, classes = splits.annotated("train"), splits.manifest.classes
    return build_order(config.sampling, rows, classes, config.train.batch_size, config.train.seed)
