"""What every network must do, whichever it is: one class of tests, and a subclass for each network."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from onnxruntime import InferenceSession
from safetensors.torch import load, save
from torch import nn

from raycxr.config.model import ModelSection
from raycxr.models.choices import MODELS, SIZE_DIVISORS, build_model, size_divisor, smallest_size
from raycxr.models.classic_unet import ClassicUnet
from raycxr.models.inverted_net import build_inverted_net
from raycxr.models.smp_network import ARCHITECTURES


def _film(channels: int, height: int, width: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(1))


@lru_cache(maxsize=3)  # the three pairs of channels below; building takes longer than running
def _built(settings: ModelSection, in_channels: int, out_channels: int) -> nn.Module:
    torch.manual_seed(0)
    return build_model(settings, in_channels, out_channels)


class Network:
    """The tests of one network. `parameters` and `statistics` (of batch norm) are those of 1 channel and 1 output."""

    settings: ClassVar[ModelSection]
    divisor: ClassVar[int]
    parameters: ClassVar[int]
    statistics: ClassVar[int]
    smallest: ClassVar[int] = 0

    def film(self) -> torch.Tensor:
        size = 2 * max(self.divisor, self.smallest)
        return _film(1, size, size)

    def network(self, in_channels: int = 1, out_channels: int = 5) -> nn.Module:
        return copy.deepcopy(_built(self.settings, in_channels, out_channels))

    @pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (1, 5), (3, 4)])
    def test_logits_have_the_size_of_the_film(self, in_channels: int, out_channels: int) -> None:
        model = self.network(in_channels, out_channels).eval()
        least = max(self.divisor, self.smallest)
        for height, width in [(least, least), (least, least + self.divisor), (least + 2 * self.divisor, least)]:
            with torch.no_grad():
                logits = model(_film(in_channels, height, width))
            assert logits.shape == (2, out_channels, height, width)
            assert torch.isfinite(logits).all()

    def test_logits_are_not_squashed_to_probabilities(self) -> None:
        model = self.network().eval()
        with torch.no_grad():
            logits = model(self.film())
        assert (logits < 0).any()
        assert not torch.allclose(logits.sum(dim=1), torch.ones(()))

    def test_the_gradient_reaches_every_parameter(self) -> None:
        model = self.network().train()
        logits = model(self.film())
        torch.manual_seed(0)
        (logits * torch.randn_like(logits)).sum().backward()
        unreached = [
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
        ]
        assert unreached == []
        assert sum(parameter.requires_grad for parameter in model.parameters()) > 5

    def test_saved_weights_give_the_same_logits(self) -> None:
        film = self.film()
        model = self.network()
        model.train()(film)  # moves the batch-norm statistics away from their start
        other = build_model(self.settings, 1, 5)
        other.load_state_dict(load(save(model.state_dict())))
        with torch.no_grad():
            assert torch.equal(model.eval()(film), other.eval()(film))

    def test_bfloat16_autocast_in_channels_last_agrees(self) -> None:
        film = self.film()
        with torch.no_grad():
            model = self.network().eval()
            exact = model(film)
            model = model.to(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rough = model(film.to(memory_format=torch.channels_last))
        assert rough.dtype == torch.bfloat16
        assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()

    @pytest.mark.slow
    def test_the_compiler_traces_it_in_one_piece(self) -> None:
        film = self.film()
        model = self.network().eval()
        torch.compiler.reset()
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        with torch.no_grad():
            _assert_same(compiled(film), model(film))

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore::FutureWarning:copyreg", "ignore::DeprecationWarning")
    def test_it_exports_to_onnx_for_any_number_of_films(self, tmp_path: Path) -> None:
        film = self.film()
        model = self.network().eval()
        shapes = ({0: torch.export.Dim("films", min=1)},)
        program = torch.onnx.export(model, (film,), dynamo=True, dynamic_shapes=shapes, verbose=False)
        assert program is not None
        program.save(tmp_path / "model.onnx")
        session = InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        with torch.no_grad():
            for films in (film, film[:1], torch.cat([film, film.flip(3)])):
                (logits,) = session.run(None, {session.get_inputs()[0].name: films.numpy()})
                _assert_same(torch.from_numpy(logits), model(films), tolerance=1e-4)

    def test_parameter_counts(self) -> None:
        model = self.network(1, 1)
        assert _parameters(model) == self.parameters
        assert _statistics(model) == self.statistics

    def test_sizes(self) -> None:
        assert size_divisor(self.settings) == self.divisor
        assert smallest_size(self.settings) == max(self.divisor, self.smallest)


# The counts of the library's networks are those of version 0.6.0, with the ResNet18 of 11,170,240 parameters.
class TestUnet(Network):
    settings = ModelSection(encoder="resnet18")
    divisor = 32
    parameters = 14_321_937
    statistics = 11_584


class TestUnetWithGroupNorm(Network):
    settings = ModelSection(encoder="resnet18", norm="group")
    divisor = 32
    parameters = 14_321_937
    statistics = 0


class TestUnetOfThreeLevels(Network):
    settings = ModelSection(encoder="resnet18", decoder_channels=(32, 16, 8))
    divisor = 8
    parameters = 11_252_905
    statistics = 9_824


class TestUnetWithAnUnusedHead(Network):
    settings = ModelSection(encoder="efficientnet-b0")
    divisor = 32
    parameters = 6_250_893
    statistics = 44_000


@pytest.mark.slow
class TestUnetPlusPlus(Network):
    settings = ModelSection(name="unetplusplus")
    divisor = 32
    parameters = 15_964_177
    statistics = 13_376


@pytest.mark.slow
class TestMAnet(Network):
    settings = ModelSection(name="manet")
    divisor = 32
    parameters = 21_669_201
    statistics = 14_528


class TestLinknet(Network):
    settings = ModelSection(name="linknet")
    divisor = 32
    parameters = 11_657_505
    statistics = 11_712


class TestFPN(Network):
    settings = ModelSection(name="fpn")
    divisor = 32
    parameters = 13_040_961
    statistics = 9_600


class TestPSPNet(Network):
    settings = ModelSection(name="pspnet")
    divisor = 8
    parameters = 11_323_553
    statistics = 10_816


class TestDeepLabV3(Network):
    settings = ModelSection(name="deeplabv3")
    divisor = 8
    parameters = 15_892_673
    statistics = 13_184


class TestDeepLabV3Plus(Network):
    settings = ModelSection(name="deeplabv3plus")
    divisor = 16
    parameters = 12_323_025
    statistics = 13_792


class TestPAN(Network):
    settings = ModelSection(name="pan")
    divisor = 16
    parameters = 11_361_384
    statistics = 10_124
    smallest = 128


@pytest.mark.slow
class TestUPerNet(Network):
    settings = ModelSection(name="upernet")
    divisor = 32
    parameters = 19_485_249
    statistics = 15_744


class TestSegformer(Network):
    settings = ModelSection(name="segformer")
    divisor = 32
    parameters = 11_762_113
    statistics = 10_112


class TestDPT(Network):
    settings = ModelSection(name="dpt", encoder="tu-vit_tiny_patch16_224")
    divisor = 32
    parameters = 34_781_609
    statistics = 8_704


class TestClassicUnet(Network):
    settings = ModelSection(name="classic_unet")
    divisor = 16
    parameters = 7_759_521
    statistics = 0


class TestResUnet(Network):
    settings = ModelSection(name="res_unet")
    divisor = 16
    parameters = 4_715_441
    statistics = 7_296


class TestInvertedNetPaper(Network):
    settings = ModelSection(name="inverted_net", channels=(32, 16, 8, 4, 2))
    divisor = 16
    parameters = 49_561
    statistics = 0


class TestInvertedNetDD2424(Network):
    settings = ModelSection(name="inverted_net", form="dd2424", channels=(16, 8, 4, 2))
    divisor = 8
    parameters = 15_495
    statistics = 34


# Frozen encoders of random weights: the heads' published counts stand in tests/models/test_fcn.py.
@pytest.mark.slow
class TestFcnVgg19(Network):
    settings = ModelSection(name="fcn", encoder="vgg19")
    divisor = 32
    parameters = 20_159_427
    statistics = 0


@pytest.mark.slow
class TestFcnResnet50(Network):
    settings = ModelSection(name="fcn", encoder="resnet50")
    divisor = 32
    parameters = 23_540_933
    statistics = 53_120


@pytest.mark.slow
class TestFcnInceptionV3(Network):
    settings = ModelSection(name="fcn", encoder="inceptionv3")
    divisor = 1
    smallest = 75
    parameters = 22_315_428
    statistics = 34_432


class TestUnetWithFrozenEncoder(Network):
    settings = ModelSection(encoder="resnet18", freeze_encoder=True)
    divisor = 32
    parameters = 14_321_937
    statistics = 11_584


def _assert_same(logits: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    """Up to rounding, which grows with the largest logit."""
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() <= tolerance * expected.abs().max()


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
        (lambda: ClassicUnet(3, 1), 7_760_097, 0),
        (lambda: ClassicUnet(1, 1, base_channels=64), 31_030_593, 0),  # the pneumonia project
        # segmentation-models-pytorch: 14,328,209 with 3 input channels, each 64 kernels of 7x7
        (lambda: build_model(ModelSection(encoder="resnet18"), 1, 1), 14_328_209 - 2 * 64 * 49, 9_600 + 1_984),
    ],
)
def test_published_parameter_counts(build: Callable[[], nn.Module], parameters: int, statistics: int) -> None:
    model = build()
    assert _parameters(model) == parameters
    assert _statistics(model) == statistics


def test_the_settings_reach_the_networks() -> None:
    narrow = build_model(ModelSection(name="inverted_net", form="dd2424", channels=(8, 4), dropout=0.3), 1, 2)
    assert {module.p for module in narrow.modules() if isinstance(module, nn.Dropout)} == {0.3}
    assert _parameters(narrow) < 10_000
    published = build_model(ModelSection(name="inverted_net", form="dd2424"), 1, 4)
    assert _parameters(published) == 973_062
    assert _parameters(build_model(ModelSection(name="classic_unet", base_channels=2), 1, 1)) < 100_000
    assert _parameters(build_model(ModelSection(name="res_unet", base_channels=2), 1, 1)) < 100_000
    assert _parameters(build_model(ModelSection(name="pspnet", encoder="mobilenet_v2"), 1, 1)) < 3_000_000
    deeper = build_model(ModelSection(encoder="resnet34"), 1, 1)
    assert _parameters(deeper) > 20_000_000


def test_size_divisors_of_published_forms() -> None:
    assert size_divisor(ModelSection(name="inverted_net", form="dd2424")) == 8
    assert size_divisor(ModelSection(name="inverted_net", form="paper")) == 16


def test_every_name_of_the_configuration_has_a_network() -> None:
    names = set(ModelSection.model_fields["name"].annotation.__args__)  # type: ignore[union-attr]
    assert set(MODELS) == set(SIZE_DIVISORS) == names


@pytest.mark.parametrize("name", MODELS)
def test_the_title_names_the_encoder_where_there_is_one(name: str) -> None:
    title = ModelSection.model_validate({"name": name, "encoder": "mit_b1"}).title
    assert title == (f"{name} with a mit_b1 encoder" if name in {*ARCHITECTURES, "fcn"} else name)


@pytest.mark.slow
def test_imports_stay_light() -> None:
    program = (
        "import sys\n"
        "import raycxr.metrics.overlap, raycxr.metrics.surface, raycxr.metrics.bootstrap\n"
        "import raycxr.postprocess.rule, raycxr.postprocess.search\n"
        "assert 'torch' not in sys.modules\n"
        "import raycxr.models.choices, raycxr.losses.choices, raycxr.metrics.counts\n"
        "assert not {'segmentation_models_pytorch', 'timm', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
