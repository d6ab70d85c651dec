"""Two true workers: how often they exchange gradients, and that they learn what one does."""

# No postponed annotations here: DistributedDataParallel looks at those of its hooks.
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from raycxr.config.dataset import DatasetSection
from raycxr.config.model import ModelSection
from raycxr.config.optimizer import OptimizerSection, ScheduleSection
from raycxr.config.sections import Config
from raycxr.config.train import TrainSection
from raycxr.dataset.films import Batch
from raycxr.losses.choices import build_loss
from raycxr.models.choices import build_model
from raycxr.models.classic_unet import ClassicUnet
from raycxr.prediction.compute import Compute
from raycxr.prediction.target import target_kind
from raycxr.storage.location import Location
from raycxr.training.batch_statistics import agree_on_batch_statistics
from raycxr.training.distributed import synchronised
from raycxr.training.epoch import train_epoch
from raycxr.training.group_session import GroupSession
from raycxr.training.mid_epoch import MidEpoch
from raycxr.training.optimizer import build_optimizer
from raycxr.training.progress import SilentProgress
from raycxr.training.schedule import Schedule
from raycxr.training.session import LocalSession, Session
from raycxr.training.state import Progress, TrainingState

CPU = torch.device("cpu")
COMPUTE = Compute(CPU, None, channels_last=False)
STEPS, FILMS = 2, 8
# Passes of one optimizer step: every worker has FILMS / (2 x PARTS) films in each.
PARTS = 2


def films(first: int, count: int) -> Batch:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(STEPS * FILMS, 16, 16, generator=generator)[first : first + count]
    fields = torch.randint(0, 2, (STEPS * FILMS, 16, 16), generator=generator, dtype=torch.uint8)
    ids = [f"film{number}" for number in range(count)]
    return Batch(images, fields[first : first + count], ids, torch.ones(count, dtype=torch.bool))


def shades(rank: int) -> Tensor:
    """Two maps, others on each worker."""
    return torch.arange(32.0).reshape(2, 1, 4, 4) * (rank + 1)


def new_state() -> TrainingState:
    torch.manual_seed(0)
    model = ClassicUnet(base_channels=2)
    optimizer = build_optimizer(OptimizerSection(name="sgd", lr=0.1), model)
    schedule = Schedule(ScheduleSection(name="constant", warmup_epochs=0), optimizer, STEPS, 1, "max")
    return TrainingState(model, optimizer, schedule, None, torch.amp.GradScaler("cpu", enabled=False), Progress())


def train(state: TrainingState, wrapped: nn.Module, batches: list[Batch], session: Session, parts: int) -> None:
    loss, target = build_loss({"bce": 1}, "multilabel"), target_kind(DatasetSection(), ["lungs"])
    mid_epoch = MidEpoch(TrainSection(), session, len(batches) // parts, None, {})
    train_epoch(state, wrapped, batches, loss, target, COMPUTE, session, 0, parts, 1.0, mid_epoch)


def statistics_of(model: nn.Module) -> list[Tensor]:
    return [tensor for name, tensor in model.state_dict().items() if "running" in name]


def work(rank: int, folder: Path) -> None:
    """One of two workers: a short training, and batch statistics of films of its own."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=2)
    session = GroupSession(Config(), Location(folder), CPU, resume=False)
    state = new_state()
    wrapped = session.wrap(state.model)
    assert isinstance(wrapped, DistributedDataParallel)
    exchanges: list[int] = []

    def count(_: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        exchanges.append(bucket.index())
        mean = bucket.buffer().div_(2)
        done: Any = torch.distributed.all_reduce(mean, async_op=True)
        return done.get_future().then(lambda future: future.value()[0])  # type: ignore[no-any-return]

    wrapped.register_comm_hook(None, count)
    share = FILMS // (2 * PARTS)
    batches = [films(step * FILMS + (2 * part + rank) * share, share) for step in range(STEPS) for part in range(PARTS)]
    train(state, wrapped, batches, session, PARTS)
    norm = nn.BatchNorm2d(1)
    norm(shades(rank))
    agree_on_batch_statistics([norm], session)
    torch.save({"weights": state.model.state_dict(), "statistics": statistics_of(norm)}, folder / f"{rank}.pt")
    (folder / f"{rank}.json").write_text(json.dumps(exchanges))
    session.close()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what two workers left behind."""
    folder = tmp_path_factory.mktemp("workers")
    spawn(work, (folder,), nprocs=2)  # type: ignore[no-untyped-call]
    return folder


def left_by(workers: Path, rank: int) -> dict[str, Any]:
    left: dict[str, Any] = torch.load(workers / f"{rank}.pt", weights_only=True)
    return left


def test_gradients_travel_once_a_step(workers: Path) -> None:
    # The network has a single bucket of gradients.
    assert [json.loads((workers / f"{rank}.json").read_text()) for rank in range(2)] == [[0] * STEPS] * 2


def test_two_workers_that_accumulate_learn_what_one_does(workers: Path, tmp_path: Path) -> None:
    """In float32, up to the order of summation; each worker has the other's weights to the last bit."""
    state = new_state()
    session = LocalSession(Location(tmp_path), 1, "max", resume=False, progress=SilentProgress())
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    train(state, state.model, [films(step * FILMS, FILMS) for step in range(STEPS)], session, 1)
    first, second = (left_by(workers, rank)["weights"] for rank in range(2))
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-6)
    assert max(float((before[name] - first[name]).abs().max()) for name in before) > 1e-3


def test_workers_validate_with_the_statistics_of_the_first(workers: Path) -> None:
    norm = nn.BatchNorm2d(1)
    norm(shades(0))
    for rank in range(2):
        left = left_by(workers, rank)["statistics"]
        assert all(torch.equal(one, other) for one, other in zip(left, statistics_of(norm), strict=True))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_100"])
def test_synchronised_batch_norms_compute_what_they_replace(encoder: str) -> None:
    """Timm's keep their activations; names, parameters and statistics are those that copies and checkpoints have."""
    torch.manual_seed(0)
    model = build_model(ModelSection(encoder=encoder), 1, 1).eval()
    before, parameters = model.state_dict(), list(model.parameters())
    film = torch.rand(1, 1, 64, 64)
    expected = model(film)
    converted = synchronised(model)
    assert converted is model
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == list(before)
    assert torch.equal(model(film), expected)
