"""What every network must do, whichever it is."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from raycxr.config.sections import ModelSection
from raycxr.models.choices import MODELS, SIZE_DIVISORS, build_model, size_divisor
from raycxr.models.inverted_net import build_inverted_net

SETTINGS = {
    "unet": ModelSection(name="unet", encoder="resnet18"),
    "unet of three levels": ModelSection(name="unet", encoder="resnet18", decoder_channels=(32, 16, 8)),
    "unet with an unused head": ModelSection(name="unet", encoder="efficientnet-b0"),
    "inverted_net paper": ModelSection(name="inverted_net", channels=(32, 16, 8, 4, 2)),
    "inverted_net dd2424": ModelSection(name="inverted_net", form="dd2424", channels=(16, 8, 4, 2)),
}
each_network = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())


def _film(channels: int, height: int, width: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


@each_network
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (1, 5), (3, 4)])
def test_logits_have_the_size_of_the_film(settings: ModelSection, in_channels: int, out_channels: int) -> None:
    model = build_model(settings, in_channels, out_channels).eval()
    divisor = size_divisor(settings)
    for height, width in [(divisor, divisor), (divisor, 3 * divisor), (2 * divisor, divisor)]:
        with torch.no_grad():
            logits = model(_film(in_channels, height, width))
        assert logits.shape == (2, out_channels, height, width)
        assert torch.isfinite(logits).all()


@each_network
def test_logits_are_not_squashed_to_probabilities(settings: ModelSection) -> None:
    model = build_model(settings, 1, 3).eval()
    divisor = size_divisor(settings)
    with torch.no_grad():
        logits = model(_film(1, 2 * divisor, 2 * divisor))
    assert (logits < 0).any()
    assert not torch.allclose(logits.sum(dim=1), torch.ones(()))


@each_network
def test_the_gradient_reaches_every_parameter(settings: ModelSection) -> None:
    torch.manual_seed(0)
    model = build_model(settings, 1, 3).train()
    divisor = size_divisor(settings)
    logits = model(_film(1, 2 * divisor, 2 * divisor))
    (logits * torch.randn_like(logits)).sum().backward()
    unreached = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert unreached == []
    assert sum(parameter.requires_grad for parameter in model.parameters()) > 10


@each_network
def test_saved_weights_give_the_same_logits(settings: ModelSection) -> None:
    divisor = size_divisor(settings)
    film = _film(1, 2 * divisor, 2 * divisor)
    model = build_model(settings, 1, 2)
    model.train()(film)  # moves the batch-norm statistics away from their start
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build_model(settings, 1, 2)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        assert torch.equal(model.eval()(film), other.eval()(film))


@each_network
def test_bfloat16_autocast_in_channels_last_agrees(settings: ModelSection) -> None:
    torch.manual_seed(0)
    divisor = size_divisor(settings)
    film = _film(1, 2 * divisor, 2 * divisor)
    with torch.no_grad():
        model = build_model(settings, 1, 2).eval()
        exact = model(film)
        model = model.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(film.to(memory_format=torch.channels_last))
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _statistics(model: nn.Module) -> int:
    names = ("running_mean", "running_var")
    return sum(buffer.numel() for name, buffer in model.named_buffers() if name.endswith(names))


@pytest.mark.parametrize(
    ("build", "parameters", "statistics"),
    [
        (lambda: build_inverted_net("paper", None, None, 1, 3), 3_140_771, 0),
        (lambda: build_inverted_net("paper", None, None, 1, 4), 3_141_028, 0),
        (lambda: build_inverted_net("paper", None, None, 1, 5), 3_141_285, 0),
        (lambda: build_inverted_net("dd2424", None, None, 1, 4), 973_062, 973_320 - 973_062),
        # segmentation-models-pytorch: 14,328,209 with 3 input channels, each 64 kernels of 7x7
        (lambda: build_model(ModelSection(encoder="resnet18"), 1, 1), 14_328_209 - 2 * 64 * 49, 9_600 + 1_984),
    ],
)
def test_parameter_counts(build: Callable[[], nn.Module], parameters: int, statistics: int) -> None:
    model = build()
    assert _parameters(model) == parameters
    assert _statistics(model) == statistics


def test_the_settings_reach_the_networks() -> None:
    narrow = build_model(ModelSection(name="inverted_net", form="dd2424", channels=(8, 4), dropout=0.3), 1, 2)
    assert {module.p for module in narrow.modules() if isinstance(module, nn.Dropout)} == {0.3}
    assert _parameters(narrow) < 10_000
    published = build_model(ModelSection(name="inverted_net", form="dd2424"), 1, 4)
    assert _parameters(published) == 973_062
    deeper = build_model(ModelSection(encoder="resnet34"), 1, 1)
    assert _parameters(deeper) > 20_000_000


def test_size_divisors() -> None:
    assert {name: size_divisor(settings) for name, settings in SETTINGS.items()} == {
        "unet": 32,
        "unet of three levels": 8,
        "unet with an unused head": 32,
        "inverted_net paper": 16,
        "inverted_net dd2424": 8,
    }
    assert size_divisor(ModelSection(name="inverted_net", form="dd2424")) == 8
    assert size_divisor(ModelSection(name="inverted_net", form="paper")) == 16


def test_every_name_of_the_configuration_has_a_network() -> None:
    names = set(ModelSection.model_fields["name"].annotation.__args__)  # type: ignore[union-attr]
    assert set(MODELS) == set(SIZE_DIVISORS) == names


@pytest.mark.slow
def test_imports_stay_light() -> None:
    program = (
        "import sys\n"
        "import raycxr.metrics.overlap, raycxr.metrics.surface, raycxr.metrics.bootstrap\n"
        "import raycxr.postprocess.threshold\n"
        "assert 'torch' not in sys.modules\n"
        "import raycxr.models.choices, raycxr.losses.choices, raycxr.metrics.counts\n"
        "assert not {'segmentation_models_pytorch', 'timm', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
