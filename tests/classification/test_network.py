"""Encoders and heads: shapes, what is trained and what stays, and the deepest features of every kind of network."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from raycxr.classification.encoder import build_encoder, encoder_of, feature_maps, rebuild_encoder, weights_sha256
from raycxr.classification.network import Classifier, build_head, choose_pooled, pool_both
from raycxr.config.classify import ClassifySection
from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError
from raycxr.models.choices import build_model


def section(**settings: object) -> ClassifySection:
    chosen = settings if "bundle" in settings else {"encoder": "resnet18", **settings}
    return ClassifySection.model_validate({"label": "tb", **chosen})


@pytest.mark.parametrize(("name", "maps"), [("resnet18", 512), ("tu-resnet10t", 512)])
def test_encoders_by_name(name: str, maps: int) -> None:
    encoder = build_encoder(section(encoder=name), None).eval()
    assert feature_maps(encoder, 96) == maps
    with torch.no_grad():
        assert encoder(torch.rand(2, 1, 96, 96)).shape == (2, maps, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "maps"), [("vgg16", 512), ("resnet50", 2048), ("inceptionresnetv2", 1536)])
def test_the_published_encoders(name: str, maps: int) -> None:
    assert feature_maps(build_encoder(section(encoder=name), None), 256) == maps


@pytest.mark.parametrize(
    ("settings", "maps"),
    [
        (ModelSection(name="unet", encoder="resnet18", decoder_channels=(32, 16, 8)), 128),
        (ModelSection(name="fpn", encoder="resnet18"), 512),
        (ModelSection(name="classic_unet", base_channels=4), 64),
        (ModelSection(name="res_unet", base_channels=4), 64),
        (ModelSection(name="inverted_net", channels=(8, 6, 4)), 4),
        (ModelSection(name="inverted_net", form="dd2424"), 16),
    ],
)
def test_the_encoder_of_a_network_is_what_its_decoder_sees_last(settings: ModelSection, maps: int) -> None:
    network = build_model(settings, 1, 1).eval()
    encoder = encoder_of(network, settings).eval()
    assert feature_maps(encoder, 64) == maps
    seen: list[torch.Tensor] = []
    # Where the network itself makes its deepest maps.
    deepest = getattr(network, "bridge", None) or getattr(network, "encoder")  # noqa: B009
    if isinstance(deepest, torch.nn.ModuleList):
        deepest = deepest[-1]
    deepest.register_forward_hook(lambda _, given, made: seen.append(made[-1] if isinstance(made, list) else made))
    film = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        network(film)
        expected = seen[0].clone()
        assert torch.equal(encoder(film), expected)
    again = rebuild_encoder(section(bundle="runs/a"), settings)
    again.load_state_dict(encoder.state_dict())


def test_networks_without_features_and_films_of_a_wrong_size_are_refused() -> None:
    settings = ModelSection(name="dpt", encoder="tu-test_vit")
    with pytest.raises(ConfigurationError, match="a dpt with a tu-test_vit encoder has no features"):
        encoder_of(torch.nn.Sequential(), settings)
    unet = ModelSection(name="classic_unet", base_channels=2)
    with pytest.raises(ConfigurationError, match="cannot be divided by 16"):
        build_model(unet, 1, 1)(torch.rand(1, 1, 40, 40))
    with pytest.raises(ConfigurationError, match="cannot take films of 8x8 pixels"):
        feature_maps(torch.nn.Conv2d(1, 1, 9), 8)


def test_mistakes_name_the_keys_of_this_section() -> None:
    with pytest.raises(ConfigurationError, match=r"classify\.encoder = 'resnet19' is not an encoder"):
        build_encoder(section(encoder="resnet19"), None)
    with pytest.raises(ConfigurationError, match=r"classify\.encoder_weights = 'imagent' is unknown"):
        build_encoder(section(), "imagent")


def test_weights_come_from_a_file(tmp_path: object) -> None:
    torch.manual_seed(1)
    donor = build_encoder(section(), None)
    path = f"{tmp_path}/weights.safetensors"
    save_file({name.removeprefix("encoder."): tensor for name, tensor in donor.state_dict().items()}, path)
    taken = build_encoder(section(), path)
    assert weights_sha256(taken.state_dict()) == weights_sha256(donor.state_dict())
    assert weights_sha256(build_encoder(section(), None).state_dict()) != weights_sha256(donor.state_dict())


def test_pooling() -> None:
    maps = torch.rand(3, 5, 4, 4)
    both = pool_both(maps)
    assert torch.allclose(choose_pooled(both, "average"), maps.mean((2, 3)))
    assert torch.equal(choose_pooled(both, "max"), maps.amax((2, 3)))
    assert choose_pooled(both, "average_max").shape == (3, 10)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(("pooling", "hidden"), [("average", (8,)), ("average_max", ()), ("max", (8, 4))])
def test_a_frozen_encoder_really_is(frozen: bool, pooling: str, hidden: tuple[int, ...]) -> None:
    settings = section(pooling=pooling, hidden=hidden, frozen=frozen)
    encoder = build_encoder(settings, None)
    model = Classifier(encoder, build_head(settings, 512), pooling, frozen).train()
    before = weights_sha256(encoder.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    logits = model(torch.rand(4, 1, 64, 64))
    assert logits.shape == (4,)
    logits.square().sum().backward()
    optimizer.step()
    # Batch-norm statistics count as well.
    assert (weights_sha256(encoder.state_dict()) == before) == frozen
    assert all(p.grad is not None for p in model.head.parameters())
