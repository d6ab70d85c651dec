from __future__ import annotations

import pytest
import torch
from torch import nn

from raycxr.config.model import ModelSection
from raycxr.models.choices import build_model
from raycxr.models.image_head import split_output
from raycxr.models.smp_network import ARCHITECTURES

SLOW = {"unetplusplus", "manet", "upernet", "dpt"}


def _built(name: str = "unet", **settings: object) -> nn.Module:
    torch.manual_seed(0)
    encoder = "tu-vit_tiny_patch16_224" if name == "dpt" else "resnet18"
    section = ModelSection.model_validate({"name": name, "encoder": encoder, "image_head": True, **settings})
    return build_model(section, 1, 4, 3)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ARCHITECTURES]
)
def test_every_network_of_the_library_tells_what_a_film_shows(name: str) -> None:
    model = _built(name)
    masks, images = split_output(model(torch.rand(2, 1, 128, 128)))
    assert masks.shape == (2, 4, 128, 128)
    assert images is not None
    assert images.shape == (2, 3)
    (masks.square().sum() + images.square().sum()).backward()  # type: ignore[no-untyped-call]
    waiting = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad == (parameter.grad is None)
    ]
    assert waiting == []
    assert split_output(build_model(ModelSection(), 1, 1).eval()(torch.rand(1, 1, 32, 32)))[1] is None


def test_the_head_reads_the_mean_of_the_deepest_map() -> None:
    model = _built(decoder_channels=(32, 16, 8), image_head_dropout=0.3).eval()
    film = torch.rand(2, 1, 64, 64)
    linear = next(
        module for module in model.get_submodule("classification_head").modules() if isinstance(module, nn.Linear)
    )
    with torch.no_grad():
        deepest = model.get_submodule("encoder")(film)[-1]
        _, images = split_output(model(film))
        torch.testing.assert_close(images, linear(deepest.mean(dim=(2, 3))))
    assert deepest.shape == (2, 128, 8, 8)
    rates = [
        module.p for module in model.get_submodule("classification_head").modules() if isinstance(module, nn.Dropout)
    ]
    assert rates == [0.3]


def test_the_masks_are_those_of_the_network_without_the_head() -> None:
    film = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        masks, _ = split_output(_built().eval()(film))
        torch.manual_seed(0)
        assert torch.equal(masks, build_model(ModelSection(), 1, 4).eval()(film))


def test_without_a_number_of_structures_each_channel_has_one() -> None:
    _, images = split_output(build_model(ModelSection(image_head=True), 1, 5).eval()(torch.rand(1, 1, 32, 32)))
    assert images is not None
    assert images.shape == (1, 5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_the_compiler_traces_both_outputs_in_one_piece(backend: str) -> None:
    model, film = _built().eval(), torch.rand(2, 1, 64, 64)
    torch.compiler.reset()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend=backend, fullgraph=True)(film), model(film))


@pytest.mark.slow
def test_both_outputs_are_exported() -> None:
    model, film = _built().eval(), torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        exported = torch.export.export(model, (film,)).run_decompositions().module()
        torch.testing.assert_close(exported(film), model(film))
