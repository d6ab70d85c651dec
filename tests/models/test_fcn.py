from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models.choices import build_model, smallest_size
from raycxr.models.fcn import DROPOUT, FORMS, Fcn, UpSampling, build_fcn

FEATURES = {"vgg19": (512, 4), "resnet50": (2048, 4), "inceptionv3": (2048, 2)}


class Maps(nn.Module):
    """An encoder of one strided convolution, to try the heads with."""

    def __init__(self, features: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, features, 1, stride)

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image, self.convolution(image)]


def fcn(encoder: str, out_channels: int, dropout: float = DROPOUT) -> Fcn:
    features, size = FEATURES[encoder]
    return Fcn(Maps(features, 128 // size), features, out_channels, FORMS[encoder].layers, dropout)


def trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("encoder", "layers"),
    [
        ("vgg19", [262_146, 4_098, 16_386]),
        ("resnet50", [65_538, 1_026, 4_098, 4_098, 16_386]),
        ("inceptionv3", [1_048_578, 4_098, 4_098, 16_386]),
    ],
)
def test_the_heads_have_the_published_counts(encoder: str, layers: list[int]) -> None:
    head = fcn(encoder, 2).segmentation_head
    assert [trainable(layer) for layer in head if trainable(layer)] == layers
    assert trainable(head) == {"vgg19": 282_630, "resnet50": 91_146, "inceptionv3": 1_073_160}[encoder]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "encoder_parameters", "head"),
    [
        ("vgg19", 20_024_384, 282_630),
        ("resnet50", 23_508_032, 91_146),
        # Keras counts 21,802,784: no scales in batch norm (17,216 fewer), but both of its statistics (34,432 more).
        ("inceptionv3", 21_802_784 - 34_432 + 17_216, 1_073_160),
    ],
)
def test_only_the_head_is_trained(encoder: str, encoder_parameters: int, head: int) -> None:
    model = build_model(ModelSection(name="fcn", encoder=encoder), 3, 2)
    assert trainable(model) == head
    assert sum(parameter.numel() for parameter in model.get_submodule("encoder").parameters()) == encoder_parameters
    model.eval()
    with torch.no_grad():
        deepest = model.get_submodule("encoder")(torch.rand(1, 3, 128, 128))[-1]
    features, size = FEATURES[encoder]
    assert deepest.shape == (1, features, size, size)
    fine_tuned = build_model(ModelSection(name="fcn", encoder=encoder, freeze_encoder=False), 3, 2)
    assert trainable(fine_tuned) == head + encoder_parameters


@pytest.mark.parametrize("encoder", FORMS)
def test_a_head_enlarges_128_pixels_without_interpolation(encoder: str) -> None:
    features, size = FEATURES[encoder]
    head = fcn(encoder, 2).segmentation_head.eval()
    with torch.no_grad():
        assert head(torch.rand(1, features, size, size)).shape == (1, 2, 128, 128)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 160), (100, 75)])
def test_logits_have_the_size_of_the_film(height: int, width: int) -> None:
    model = fcn("inceptionv3", 3).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 1, height, width)).shape == (2, 3, height, width)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("kernel", "stride"), [*{layer for form in FORMS.values() for layer in form.layers}, (3, 1), (9, 3), (6, 2)]
)
def test_up_sampling_is_torchs_transpose_convolution(
    kernel: int, stride: int, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    layer = UpSampling(5, 3, kernel, stride).double()
    nn.init.normal_(layer.bias)
    features = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = F.conv_transpose2d(features, layer.weight, layer.bias, stride, (kernel - stride) // 2)
    weights = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((expected * weights).sum(), layer.weight)
    layer.to(memory_format=memory_format)
    enlarged = layer(features.contiguous(memory_format=memory_format))
    assert enlarged.shape == (2, 3, 3 * stride, 4 * stride)
    torch.testing.assert_close(enlarged, expected)
    (enlarged * weights).sum().backward()
    torch.testing.assert_close(layer.weight.grad, gradient)


def test_dropout_lies_between_the_layers() -> None:
    layers = list(fcn("resnet50", 2, dropout=0.3).segmentation_head)
    assert [type(layer) for layer in layers] == [UpSampling, *[nn.Dropout, UpSampling] * 4]
    assert {layer.p for layer in layers if isinstance(layer, nn.Dropout)} == {0.3}
    with pytest.raises(ConfigurationError, match=r"model\.dropout = 1"):
        fcn("resnet50", 2, dropout=1.0)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-inception_v3", "inception_v3"])
def test_an_encoder_without_a_head(encoder: str) -> None:
    with pytest.raises(ConfigurationError, match=f"model.encoder = '{encoder}' has no head") as caught:
        build_fcn(encoder, None, 1, 2)
    assert caught.value.remedy == "choose vgg19, resnet50, inceptionv3"


def test_films_smaller_than_the_encoder_bears() -> None:
    assert smallest_size(ModelSection(name="fcn", encoder="inceptionv3")) == 75
    assert smallest_size(ModelSection(name="fcn", encoder="resnet50")) == 32
