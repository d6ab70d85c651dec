"""Group norm in place of batch norm: no film depends on the others, and what is not a statistic is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models.choices import build_model, check_model, fewest_films
from raycxr.models.group_norm import ActivatedGroupNorm, group_count, use_group_norm
from raycxr.models.smp_network import ARCHITECTURES

NETWORKS = [
    {"name": "unet", "encoder": "resnet18"},
    {"name": "unet", "encoder": "tu-mobilenetv3_small_100"},  # activations inside its batch norms
    {"name": "deeplabv3plus", "encoder": "resnet18"},  # pools a film to one pixel
    {"name": "segformer", "encoder": "resnet18"},
    {"name": "res_unet", "base_channels": 4},
    {"name": "inverted_net", "form": "dd2424", "channels": [8, 4]},
    {"name": "fcn", "encoder": "inceptionv3", "freeze_encoder": False},
]


def section(**options: object) -> ModelSection:
    return ModelSection.model_validate(options)


@pytest.mark.parametrize("options", NETWORKS, ids=lambda options: f"{options['name']}-{options.get('encoder', '')}")
def test_a_film_does_not_depend_on_the_others(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    settings = section(**options, norm="group")
    check_model(settings)
    model = build_model(settings, 1, 2).train()
    assert not any(isinstance(module, _BatchNorm) for module in model.modules())
    assert any(isinstance(module, nn.GroupNorm) for module in model.modules())
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    films = torch.rand(2, 1, 96, 96)
    together, alone = model(films), model(films[:1])
    assert (together[:1] - alone).abs().max() < 1e-4 * together.abs().max()


def test_one_film_to_a_pass_is_enough_everywhere() -> None:
    assert {fewest_films(section(name=name, norm="group")) for name in ARCHITECTURES} == {1}
    assert fewest_films(section(name="deeplabv3")) == 2


def test_scale_and_shift_of_an_encoder_with_weights_are_kept(tmp_path: Path) -> None:
    trained = build_model(section(encoder="resnet18"), 1, 1).get_submodule("encoder").state_dict()
    torch.manual_seed(1)
    stored = {name: torch.rand_like(tensor) if tensor.is_floating_point() else tensor
              for name, tensor in trained.items()}  # fmt: skip
    safetensors.torch.save_file(stored, tmp_path / "weights.safetensors")
    settings = section(encoder="resnet18", encoder_weights=str(tmp_path / "weights.safetensors"), norm="group")
    encoder = build_model(settings, 1, 1).get_submodule("encoder").state_dict()
    assert set(encoder) == {name for name in stored if "running" not in name and "tracked" not in name}
    assert all(torch.equal(tensor, stored[name]) for name, tensor in encoder.items())


def test_activations_inside_a_batch_norm_stay() -> None:
    class Activated(nn.BatchNorm2d):
        def __init__(self) -> None:
            super().__init__(16)
            self.drop, self.act = nn.Identity(), nn.ReLU()

    model = nn.Sequential(Activated())
    model[0].requires_grad_(False)
    use_group_norm(model)
    (made,) = model
    assert isinstance(made, ActivatedGroupNorm)
    assert not any(parameter.requires_grad for parameter in made.parameters())
    films = torch.randn(2, 16, 4, 4)
    expected: Tensor = nn.functional.group_norm(films, 2).relu()
    torch.testing.assert_close(model(films), expected)


@pytest.mark.parametrize(
    ("channels", "groups"), [(1, 1), (3, 1), (15, 1), (16, 2), (40, 5), (64, 8), (256, 32), (512, 32), (1280, 32)]
)
def test_groups(channels: int, groups: int) -> None:
    assert group_count(channels) == groups


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "classic_unet"}, "classic_unet does not use it"),
        ({"name": "inverted_net"}, "this form of inverted_net has no batch norm"),
        ({"name": "fcn", "encoder": "vgg19"}, "this form of fcn has no batch norm"),
        ({"name": "fcn", "encoder": "resnet50", "encoder_weights": "imagenet"}, "a frozen one cannot adapt"),
    ],
)
def test_where_it_would_change_nothing_or_spoil_features(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check_model(section(**options, norm="group"))
