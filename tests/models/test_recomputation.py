"""Activation checkpointing: the same weights and statistics to the last bit, from fewer activations kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models.choices import build_model
from raycxr.models.recomputation import recompute_activations

SIZE = 64
NETWORKS = [
    ModelSection(name="inverted_net", form="dd2424", channels=(16, 8, 4, 2), dropout=0.3),
    ModelSection(name="res_unet", base_channels=4),
    ModelSection(encoder="tu-mobilenetv3_small_100", decoder_channels=(32, 16, 8)),
    ModelSection(encoder="resnet18", decoder_channels=(32, 16, 8), norm="group"),
]


def films(number: int) -> Tensor:
    return torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(number))


def kept_bytes(model: nn.Module) -> int:
    """What autograd keeps of a forward pass beside weights and statistics."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    storages = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        model(films(0))
    return sum(storage.nbytes() for storage in storages.values())


def train(model: nn.Module) -> None:
    """Three steps in bfloat16, with a validation in between."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(5)
    for step in range(3):
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(films(step))
        optimizer.zero_grad()
        logits.float().square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            model.eval()(films(9))


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: settings.title)
def test_weights_and_statistics_are_the_same_bits(settings: ModelSection) -> None:
    torch.manual_seed(0)
    plain = build_model(settings, 1, 2)
    recomputing = copy.deepcopy(plain)
    recompute_activations(recomputing, 1, SIZE)
    assert list(recomputing.state_dict()) == list(plain.state_dict())
    start = copy.deepcopy(plain)
    train(plain)
    train(recomputing)
    assert not any(map(torch.equal, list(plain.state_dict().values())[:3], start.state_dict().values()))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(recomputing.state_dict()[name], tensor), name


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: settings.title)
def test_fewer_activations_are_kept(settings: ModelSection) -> None:
    plain = build_model(settings, 1, 2).train()
    recomputing = copy.deepcopy(plain)
    recompute_activations(recomputing, 1, SIZE)
    assert kept_bytes(recomputing) < 0.6 * kept_bytes(plain)


def test_copies_compute_with_their_own_weights() -> None:
    model = build_model(NETWORKS[1], 1, 2)
    recompute_activations(model, 1, SIZE)
    other = copy.deepcopy(model).train()
    for parameter in other.parameters():
        parameter.data.zero_()
    assert not other(films(0)).any()
    assert model.train()(films(0)).any()


class ChangesItsInput(nn.Sequential):
    """A block whose first layer overwrites what it is given, and would do so twice."""

    def __init__(self) -> None:
        super().__init__(nn.ELU(inplace=True), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ELU())


def test_what_overwrites_its_input_is_not_computed_again() -> None:
    torch.manual_seed(0)
    others = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 8, 1), nn.ELU()) for _ in range(2)]
    plain = nn.Sequential(nn.Conv2d(1, 8, 1), ChangesItsInput(), *others)
    recomputing = copy.deepcopy(plain)
    recompute_activations(recomputing, 1, SIZE)
    assert "forward" in vars(recomputing[2])
    assert "forward" not in vars(recomputing[1])
    train(plain)
    train(recomputing)
    assert all(map(torch.equal, plain.state_dict().values(), recomputing.state_dict().values()))


def test_a_network_that_would_save_nothing() -> None:
    with pytest.raises(ConfigurationError, match="no parts that would save memory"):
        recompute_activations(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ELU(), nn.Conv2d(8, 1, 1)), 1, SIZE)
