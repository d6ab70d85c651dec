from __future__ import annotations

import pytest
import torch
from torch import nn

from raycxr.errors import ConfigurationError
from raycxr.models.classic_unet import ClassicUnet


def test_maps_double_while_the_size_halves() -> None:
    model = ClassicUnet(1, 3, base_channels=2).eval()
    shapes: list[tuple[int, ...]] = []
    for level in [*model.encoder, *model.decoder]:
        level.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        model(torch.rand(1, 1, 32, 16))
    down = [(2, 32, 16), (4, 16, 8), (8, 8, 4), (16, 4, 2), (32, 2, 1)]
    assert shapes == down + down[-2::-1]


def test_a_decoder_level_sees_the_encoder_level_of_its_size() -> None:
    # Without the way up, only the skip connections are left: a pixel can no longer act further than 4 convolutions.
    model = ClassicUnet(1, 1, base_channels=4).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()  # so that no ReLU is closed
        for up_sampling in model.up_sampling:
            assert isinstance(up_sampling, nn.ConvTranspose2d)
            up_sampling.weight.zero_()
    film = torch.rand(1, 1, 32, 32)
    film.requires_grad_()
    model(film)[0, 0, 16, 16].backward()
    assert film.grad is not None
    assert film.grad[0, 0, 12:21, 12:21].any()
    film.grad[0, 0, 12:21, 12:21] = 0
    assert not film.grad.any()


def test_the_signal_neither_dies_nor_explodes_without_batch_norm() -> None:
    torch.manual_seed(0)
    model = ClassicUnet()
    logits = model(torch.rand(1, 1, 64, 64))
    logits.std().backward()
    assert 0.05 < float(logits.detach().std()) < 5
    layers = [layer for layer in model.encoder.modules() if isinstance(layer, nn.Conv2d)]
    norms = [float(layer.weight.grad.norm()) for layer in layers if layer.weight.grad is not None]
    assert len(norms) == 10
    assert min(norms) > 1e-3 * max(norms)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (24, 16), (15, 16)])
def test_a_size_that_cannot_be_halved_is_refused(height: int, width: int) -> None:
    with pytest.raises(ConfigurationError, match=f"U-Net .*{height}x{width} .*divided by 16") as caught:
        ClassicUnet(1, 1, base_channels=2)(torch.rand(1, 1, height, width))
    assert "multiple of 16" in caught.value.remedy


def test_no_maps_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"model\.base_channels = 0"):
        ClassicUnet(1, 1, base_channels=0)
