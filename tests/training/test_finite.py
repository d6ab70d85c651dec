"""A loss that is not finite stops the run at its step, names the films, and spoils nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raycxr.config.dataset import DatasetSection
from raycxr.config.load import load_config
from raycxr.config.optimizer import OptimizerSection, ScheduleSection
from raycxr.config.train import TrainSection
from raycxr.dataset.films import Batch, SplitIndex, open_splits
from raycxr.dataset.loader import BatchLoader, TrainSampler
from raycxr.errors import TrainingError
from raycxr.losses.choices import build_loss
from raycxr.models.classic_unet import ClassicUnet
from raycxr.prediction.bundle import load_model
from raycxr.prediction.compute import Compute
from raycxr.prediction.snapshot import load_snapshot
from raycxr.prediction.target import target_kind
from raycxr.runs.record import BEST, CHECKPOINT, STATE_FILE, read_history
from raycxr.storage.location import Location
from raycxr.training.average import WeightAverage
from raycxr.training.config_check import check_trainable_config
from raycxr.training.epoch import train_epoch
from raycxr.training.finite import FiniteLoss
from raycxr.training.gauges import Gauges
from raycxr.training.loop import run_training
from raycxr.training.mid_epoch import MidEpoch
from raycxr.training.optimizer import build_optimizer
from raycxr.training.progress import EpochProgress, SilentProgress
from raycxr.training.schedule import Schedule
from raycxr.training.session import LocalSession
from raycxr.training.state import Progress, TrainingState

COMPUTE = Compute(torch.device("cpu"), None, channels_last=False)


def _batch(number: int, spoilt: float | None = None) -> Batch:
    """Two 16-bit films, as float32 in 0..1; one pixel of the second may be spoilt."""
    generator = torch.Generator().manual_seed(number)
    images = torch.rand(2, 16, 16, generator=generator)
    if spoilt is not None:
        images[1, 5, 5] = spoilt
    fields = torch.randint(0, 2, (2, 16, 16), generator=generator, dtype=torch.uint8)
    return Batch(images, fields, [f"film{number}a", f"film{number}b"], torch.ones(2, dtype=torch.bool))


def _state(model: nn.Module, name: str) -> TrainingState:
    optimizer = build_optimizer(OptimizerSection.model_validate({"name": name}), model)
    schedule = Schedule(ScheduleSection(name="constant", warmup_epochs=0), optimizer, 4, 5, "max")
    average = WeightAverage(model, 0.9)
    return TrainingState(model, optimizer, schedule, average, torch.amp.GradScaler("cpu", enabled=False), Progress(2))


def _weights(state: TrainingState) -> list[Tensor]:
    return [tensor.clone() for model in (state.model, state.validated) for tensor in model.state_dict().values()]


def _train(state: TrainingState, batches: list[Batch], folder: Path, parts: int = 1) -> None:
    session = LocalSession(Location(folder), 1, "max", resume=False)
    session.progress = SilentProgress()
    loss, target = build_loss({"bce": 1}, "multilabel"), target_kind(DatasetSection(), ["lungs"])
    mid_epoch = MidEpoch(TrainSection(), session, 9, None, {})
    train_epoch(state, state.model, batches, loss, target, COMPUTE, session, 0, parts, 1.0, mid_epoch)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "adadelta"])
@pytest.mark.parametrize("pixel", [float("nan"), float("inf")])
def test_a_film_that_is_no_film(pixel: float, optimizer: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ClassicUnet(base_channels=2)
    before, state = _state(ClassicUnet(base_channels=2), optimizer), _state(model, optimizer)
    before.model.load_state_dict(model.state_dict())
    before.validated.load_state_dict(model.state_dict())
    _train(before, [_batch(1), _batch(2)], tmp_path)
    with pytest.raises(TrainingError, match=r"the loss became .* in step 3 of epoch 3, on the films film3a, film3b - "):
        _train(state, [_batch(1), _batch(2), _batch(3, pixel), _batch(4)], tmp_path)
    for stopped, expected in zip(_weights(state), _weights(before), strict=True):
        assert torch.equal(stopped, expected)  # those of the step before


def test_any_part_of_a_step_stops_it(tmp_path: Path) -> None:
    state = _state(ClassicUnet(base_channels=2), "adamw")
    before = _weights(state)
    with pytest.raises(TrainingError, match="in step 1 of epoch 3, on the films film2a, film2b - "):
        _train(state, [_batch(1), _batch(2, float("nan"))], tmp_path, parts=2)
    assert all(torch.equal(left, right) for left, right in zip(_weights(state), before, strict=True))


class Workers:
    """What workers in threads of this process share."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.barrier = threading.Barrier(count, timeout=60)
        self.values: list[Tensor] = [torch.zeros(())] * count


class WorkerSession:
    """One of several workers, each a thread."""

    def __init__(self, workers: Workers, rank: int) -> None:
        self.workers, self.rank, self.world_size = workers, rank, workers.count
        self.device = torch.device("cpu")
        self.progress: EpochProgress = SilentProgress()
        self.gauges: Gauges | None = None

    def wrap(self, model: nn.Module) -> nn.Module:
        return model

    def add_up(self, values: Tensor) -> Tensor:
        self.workers.values[self.rank] = values.clone()
        self.workers.barrier.wait()
        values.copy_(torch.stack(self.workers.values).sum(dim=0))
        self.workers.barrier.wait()
        return values

    def stream(self, splits: SplitIndex, sampler: TrainSampler, pin_memory: bool) -> BatchLoader | None:
        return None

    def latest_checkpoint(self) -> dict[str, Any] | None:
        return None

    def report(self, entry: Mapping[str, Any], value: float, snapshot: Mapping[str, Any] | None) -> None:
        return None

    def report_mid_epoch(self, snapshot: Mapping[str, Any] | None) -> None:
        return None

    def close(self) -> None:
        return None


def _watch(losses: list[list[float]], ids: list[list[str]]) -> list[TrainingError | None]:
    """What each of several workers raises; `losses` has one row per step."""
    workers = Workers(len(ids))
    raised: list[TrainingError | None] = [None] * len(ids)

    def work(rank: int) -> None:
        finite_loss = FiniteLoss(WorkerSession(workers, rank))
        try:
            for step, row in enumerate(losses, 1):
                finite_loss.send(torch.tensor(row[rank]))
                finite_loss.check(7, step, ids[rank])
        except TrainingError as error:
            raised[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(ids))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_all_workers_stop_together_with_the_same_words() -> None:
    ids = [["p1", "p2"], ["Thorax ä/3", "p4"], ["p5", "p6"]]
    raised = _watch([[0.1, 0.2, 0.3], [0.1, float("nan"), 0.3]], ids)
    message = "the loss became nan in step 2 of epoch 7, on the films Thorax ä/3, p4"
    assert [error and error.message for error in raised] == [message] * 3
    both = _watch([[float("inf"), 0.0, float("-inf")]], ids)
    assert {error and error.message for error in both} == {
        "the loss became inf in step 1 of epoch 7, on the films p1, p2, p5, p6"
    }
    assert _watch([[0.1, 3e38, -1.0]] * 3, ids) == [None] * 3


def test_many_films_with_long_names_are_cut_short() -> None:
    (error,) = _watch([[float("nan")]], [[f"{'x' * 500}{number}" for number in range(200)]])
    assert error is not None
    assert error.message.count("x" * 500) >= 32
    assert " more" in error.message


def test_what_was_saved_before_stays_whole(phantom_config: Path, tmp_path: Path) -> None:
    """Weights that weight decay itself enlarges by a factor a step, until the logits overflow."""
    grow = "optimizer={name: adamw, lr: 0.01, weight_decay: 2000, clip_norm: null}"
    config = load_config(
        phantom_config,
        [grow, "schedule={name: constant, warmup_epochs: 0}", "train.epochs=20", "train.metric=loss", "loss={bce: 1}"],
    )
    check_trainable_config(config, open_splits(config), workers=1)
    run = Location(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"the loss became (nan|inf) in step \d of epoch") as caught:
        run_training(config, run, LocalSession(run, 3, "min", resume=False), cpus=1)
    history = read_history(run)
    assert 1 <= len(history) < 20
    assert f"of epoch {len(history) + 1}" in caught.value.message
    model, _, bundle = load_model(run / BEST)
    assert bundle.epoch == next(entry["epoch"] for entry in reversed(history) if entry["best"])
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    checkpoints = sorted(place for place in Path(run.local_path).iterdir() if place.name.startswith(CHECKPOINT))
    snapshots = [load_snapshot((folder / STATE_FILE).read_bytes(), "") for folder in checkpoints]
    assert snapshots[-1]["epoch"] == len(history)
    assert all(tensor.isfinite().all() for snapshot in snapshots for tensor in snapshot["model"].values())


def test_weights_that_the_last_step_of_an_epoch_spoils_are_not_saved(phantom_config: Path, tmp_path: Path) -> None:
    settings = ["optimizer={name: sgd, lr: 1.0e+30, clip_norm: null}", "train.batch_size=16", "train.epochs=3"]
    config = load_config(phantom_config, [*settings, "schedule={name: constant, warmup_epochs: 0}"])
    run = Location(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"the validation loss became (nan|inf) in epoch 1"):
        run_training(config, run, LocalSession(run, 3, "max", resume=False), cpus=1)
    assert not (run / BEST).exists()
    assert read_history(run) == []
