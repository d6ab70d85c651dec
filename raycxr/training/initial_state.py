"""What a run trains, before its first step."""

from __future__ import annotations

import torch

from raycxr.config.sections import Config
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import TargetKind
from raycxr.runs.metric import default_mode
from raycxr.training.average import EpochMean, WeightAverage
from raycxr.training.optimizer import build_optimizer
from raycxr.training.schedule import Schedule
from raycxr.training.start import initial_network
from raycxr.training.state import Progress, TrainingState


def initial_state(config: Config, target: TargetKind, compute: Compute, steps_per_epoch: int) -> TrainingState:
    """Network on the device with its first weights, and all that goes with it.

    Parameters
    ----------
    steps_per_epoch : int
        Optimizer steps.

    Raises
    ------
    ConfigurationError
        The network cannot be built, or its weights do not fit.
    """
    model = compute.place(initial_network(config, target))
    optimizer = build_optimizer(config.optimizer, model)
    mode = default_mode(config.train.metric)
    schedule = Schedule(config.schedule, optimizer, steps_per_epoch, config.train.epochs, mode)
    train = config.train
    average = None if train.ema_decay is None else WeightAverage(model, train.ema_decay)
    mean = None if train.swa_epochs is None else EpochMean(model, train.epochs - train.swa_epochs + 1)
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.autocast_dtype == torch.float16)
    return TrainingState(model, optimizer, schedule, average, scaler, Progress(), mean)
