from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.errors import ConfigurationError
from raycxr.models.inverted_net import InvertedNet, build_inverted_net


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def _let_through(convolution: nn.Conv2d, channel: int) -> None:
    """Make a convolution with one output copy one of its input channels."""
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.zero_()
        convolution.weight[0, channel, convolution.kernel_size[0] // 2, convolution.kernel_size[1] // 2] = 1


@pytest.mark.parametrize("up_convolution", [False, True])
def test_the_lower_level_holds_the_maximum_of_each_block_of_four(up_convolution: bool) -> None:
    # Convolutions that copy leave what pool, stride and up-sampling do; ELU keeps positive values.
    model = InvertedNet(1, 1, channels=(1, 1), dropout=0, up_convolution=up_convolution)
    for convolution in _convolutions(model):
        _let_through(convolution, channel=convolution.in_channels - 1)  # the decoder: the up-sampled map
    film = torch.rand(2, 1, 6, 10)
    expected = F.max_pool2d(film, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(model(film), expected)


def test_the_skip_connection_keeps_full_resolution() -> None:
    model = InvertedNet(1, 1, channels=(1, 1), dropout=0)
    for convolution in _convolutions(model):
        _let_through(convolution, channel=0)
    film = torch.rand(1, 1, 4, 4)
    assert torch.equal(model(film), film)


def test_levels_halve_size_and_maps() -> None:
    model = build_inverted_net("paper", None, None, 1, 3).eval()
    shapes: list[tuple[int, ...]] = []
    for level in [*model.encoder, *model.decoder]:
        level.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        model(torch.rand(1, 1, 32, 16))
    assert shapes == [
        (256, 32, 16),
        (128, 16, 8),
        (64, 8, 4),
        (32, 4, 2),
        (16, 2, 1),
        (32, 4, 2),
        (64, 8, 4),
        (128, 16, 8),
        (256, 32, 16),
    ]


def test_batch_norm_only_in_the_dd2424_form() -> None:
    def norms(model: nn.Module) -> list[int]:
        return [layer.num_features for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]

    assert norms(build_inverted_net("paper", (8, 4), None, 1, 3)) == []
    assert norms(build_inverted_net("dd2424", (8, 4), None, 1, 3)) == [1, 8]


def test_dropout_acts_in_training_only_and_may_be_zero() -> None:
    film = torch.rand(1, 1, 16, 16)

    def repeated(dropout: float, training: bool) -> bool:
        model = InvertedNet(1, 1, channels=(8, 4), dropout=dropout).train(training)
        first: Tensor = model(film)
        return torch.equal(first, model(film))

    assert not repeated(0.5, training=True)
    assert repeated(0.5, training=False)
    assert repeated(0.0, training=True)


def test_the_signal_neither_dies_nor_explodes_without_batch_norm() -> None:
    torch.manual_seed(0)
    model = build_inverted_net("paper", None, 0.0, 1, 1)
    logits = model(torch.rand(1, 1, 32, 32))
    logits.std().backward()
    assert 0.01 < float(logits.detach().std()) < 10
    gradients = [convolution.weight.grad for convolution in _convolutions(model.encoder)]
    norms = [float(gradient.norm()) for gradient in gradients if gradient is not None]
    assert len(norms) == 10
    assert min(norms) > 1e-3 * max(norms)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (12, 8), (7, 8)])
def test_a_size_that_cannot_be_halved_is_refused(height: int, width: int) -> None:
    model = InvertedNet(1, 1, channels=(4, 4, 4, 4))
    with pytest.raises(ConfigurationError, match=f"{height}x{width} .*divided by 8") as caught:
        model(torch.rand(1, 1, height, width))
    assert "multiple of 8" in caught.value.remedy


@pytest.mark.parametrize(
    ("channels", "dropout", "key"),
    [((8,), 0.1, "channels"), ((8, 0), 0.1, "channels"), ((8, 4), 1.0, "dropout"), ((8, 4), -0.1, "dropout")],
)
def test_impossible_settings_are_refused(channels: tuple[int, ...], dropout: float, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"model.{key}"):
        InvertedNet(1, 1, channels=channels, dropout=dropout)
