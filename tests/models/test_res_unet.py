from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from raycxr.errors import ConfigurationError
from raycxr.models.res_unet import ResidualBlock, ResUnet


def test_maps_double_while_the_size_halves() -> None:
    model = ResUnet(1, 3, base_channels=2).eval()
    shapes: list[tuple[int, ...]] = []
    for level in [model.stem, *model.encoder, model.bridge, *model.decoder]:
        level.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        model(torch.rand(1, 1, 32, 16))
    assert shapes == [
        (2, 32, 16),
        (4, 16, 8),
        (8, 8, 4),
        (16, 4, 2),
        (32, 2, 1),
        (32, 2, 1),
        (32, 4, 2),
        (16, 8, 4),
        (8, 16, 8),
        (4, 32, 16),
    ]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_without_convolutions_is_its_shortcut(stride: int) -> None:
    block = ResidualBlock(3, 5, stride).eval()
    with torch.no_grad():
        for layer in block.residual.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.zeros_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
    features = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(block(features), block.shortcut(features))
        assert block(features).shape == (2, 5, 8 // stride, 8 // stride)


def test_a_block_leaves_what_it_was_given() -> None:
    features = torch.randn(2, 3, 8, 8)
    before = features.clone()
    ResidualBlock(3, 3, 1)(features)
    assert torch.equal(features, before)


@pytest.mark.slow
def test_few_maps_train_in_channels_last_order() -> None:
    # In a process of its own: where memory is overwritten, it dies.
    program = (
        "import torch\n"
        "from raycxr.models.res_unet import ResUnet\n"
        "for maps in (4, 6, 8):\n"
        "    model = ResUnet(base_channels=maps).to(memory_format=torch.channels_last)\n"
        "    films = torch.rand(2, 1, 64, 64).contiguous(memory_format=torch.channels_last)\n"
        "    for _ in range(10):\n"
        "        model(films).square().mean().backward()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (24, 16), (15, 16)])
def test_a_size_that_cannot_be_halved_is_refused(height: int, width: int) -> None:
    with pytest.raises(ConfigurationError, match=f"ResUNet .*{height}x{width} .*divided by 16") as caught:
        ResUnet(1, 1, base_channels=2)(torch.rand(1, 1, height, width))
    assert "multiple of 16" in caught.value.remedy


def test_no_maps_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.base_channels = 0"):
        ResUnet(1, 1, base_channels=0)
