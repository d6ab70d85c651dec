"""A frozen encoder stays what it is: in training mode, in copies, averaged, distributed and synchronised."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raycxr.config.model import ModelSection
from raycxr.config.optimizer import OptimizerSection
from raycxr.models.choices import build_model
from raycxr.training.average import WeightAverage
from raycxr.training.optimizer import build_optimizer

# Its encoder has batch norm and drops whole blocks in training.
SETTINGS = ModelSection(encoder="efficientnet-b0", freeze_encoder=True)


@pytest.fixture
def one_worker(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _frozen() -> nn.Module:
    torch.manual_seed(0)
    return build_model(SETTINGS, 1, 2)


def _encoder(model: nn.Module) -> nn.Module:
    return model.get_submodule("encoder")


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in _encoder(model).state_dict().items()}


def _train(model: nn.Module, wrapped: nn.Module) -> WeightAverage:
    """Two steps at a high rate, as the training loop makes them."""
    optimizer = build_optimizer(OptimizerSection(name="sgd", lr=0.1), model)
    average = WeightAverage(model, 0.5)
    for _ in range(2):
        wrapped.train()
        optimizer.zero_grad(set_to_none=True)
        wrapped(torch.rand(2, 1, 64, 64)).square().mean().backward()
        optimizer.step()
        average.update(model)
    return average


@pytest.mark.parametrize("wrap", [nn.Sequential, DistributedDataParallel])
def test_training_moves_nothing_in_the_encoder(one_worker: None, wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = _frozen()
    encoder, decoder = _state(model), model.get_submodule("decoder").state_dict()
    decoder = {name: tensor.clone() for name, tensor in decoder.items()}
    average = _train(model, wrap(model))
    for name, tensor in encoder.items():
        assert torch.equal(_encoder(model).state_dict()[name], tensor), name
        assert torch.equal(_encoder(average.model).state_dict()[name], tensor), name
    moved = model.get_submodule("decoder").state_dict()
    assert all(not torch.equal(moved[name], tensor) for name, tensor in decoder.items() if "running" in name)


def test_batch_norm_over_several_gpus_stays_in_evaluation_mode() -> None:
    model: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(_frozen())  # type: ignore[no-untyped-call]
    model.train()
    assert any(isinstance(module, nn.SyncBatchNorm) for module in _encoder(model).modules())
    assert not any(module.training for module in _encoder(model).modules())


def test_only_the_rest_is_trained() -> None:
    model = _frozen()
    optimizer = build_optimizer(OptimizerSection(), model)
    given = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert given == {id(parameter) for name, parameter in model.named_parameters() if not name.startswith("encoder.")}


def test_features_of_a_film_are_the_same_in_training() -> None:
    model = _frozen().train()
    film = torch.rand(1, 1, 64, 64)
    first, second = (_encoder(model)(film)[-1] for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert model.training
    assert model.get_submodule("decoder").training


def test_copies_are_frozen_by_themselves() -> None:
    model = _frozen()
    other = copy.deepcopy(model)
    del model
    other.train()
    assert not any(module.training for module in _encoder(other).modules())


def test_nothing_is_frozen_unless_asked() -> None:
    model = build_model(ModelSection(encoder="resnet18"), 1, 2).train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())
