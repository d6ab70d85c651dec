from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from raycxr.errors import ConfigurationError, DataError, StorageError
from raycxr.models.fcn import build_fcn
from raycxr.models.smp_network import build_smp_network


def _encoder(model: nn.Module) -> nn.Module:
    return model.get_submodule("encoder")


def _saved(state: dict[str, Tensor], folder: Path, name: str) -> str:
    path = folder / name
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_weights_by_uri(tmp_path: Path, name: str) -> None:
    trained = build_smp_network("unet", "resnet18", None, 1, 1)
    uri = _saved(_encoder(trained).state_dict(), tmp_path, name)
    model = build_smp_network("unet", "resnet18", uri, 1, 3)
    stored = _encoder(trained).state_dict()
    for key, tensor in _encoder(model).state_dict().items():
        assert torch.equal(tensor, stored[key]), key


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18d"])
@pytest.mark.parametrize(("stored_channels", "channels"), [(3, 1), (1, 3)])
def test_the_first_convolution_is_fitted_to_the_film(
    tmp_path: Path, encoder: str, stored_channels: int, channels: int
) -> None:
    trained = build_smp_network("unet", encoder, None, stored_channels, 1)
    uri = _saved(_encoder(trained).state_dict(), tmp_path, "weights.safetensors")
    model = build_smp_network("unet", encoder, uri, channels, 1)
    grey = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = _encoder(trained).eval()(grey.repeat(1, stored_channels, 1, 1))
        after = _encoder(model).eval()(grey.repeat(1, channels, 1, 1))
    for first, second in zip(before[1:], after[1:], strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def test_the_encoder_of_a_whole_network_is_taken(tmp_path: Path) -> None:
    trained = build_smp_network("unet", "resnet18", None, 1, 5)
    uri = _saved(trained.state_dict(), tmp_path, "model.safetensors")
    model = build_smp_network("unet", "resnet18", uri, 1, 2)
    assert torch.equal(model.get_parameter("encoder.conv1.weight"), trained.get_parameter("encoder.conv1.weight"))


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    uri = _saved(_encoder(build_smp_network("unet", "resnet18", None, 1, 1)).state_dict(), tmp_path, "weights.pth")
    with pytest.raises(ConfigurationError, match=r"do not fit model\.encoder: .*layer1\.2\.conv1"):
        build_smp_network("unet", "resnet34", uri, 1, 1)


@pytest.mark.parametrize("levels", [3, 5])
@pytest.mark.parametrize("name", ["convnext_atto", "resnet18d", "mobilenetv3_small_100"])
def test_weights_as_timm_publishes_them(tmp_path: Path, name: str, levels: int) -> None:
    import timm

    published = timm.create_model(name, in_chans=1)
    uri = _saved(published.state_dict(), tmp_path, "published.safetensors")
    model = build_smp_network("unet", f"tu-{name}", uri, 1, 1, (64, 32, 16, 8, 8)[:levels])
    state = published.state_dict()
    stored = {key.replace(".", "_"): tensor for key, tensor in state.items()}
    for key, tensor in _encoder(model).state_dict().items():
        assert torch.equal(tensor, stored[key.removeprefix("model.").replace(".", "_")]), key


@pytest.mark.parametrize(
    ("stored", "encoder"), [("resnet34", "tu-resnet18"), ("resnet34", "resnet18"), ("resnet18", "tu-resnet34")]
)
def test_published_weights_of_another_depth(tmp_path: Path, stored: str, encoder: str) -> None:
    import timm

    uri = _saved(timm.create_model(stored).state_dict(), tmp_path, "published.safetensors")
    with pytest.raises(ConfigurationError, match=r"do not fit model\.encoder: .*layer1\.2") as caught:
        build_smp_network("unet", encoder, uri, 1, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_fcn_takes_weights_as_torchvision_publishes_them(tmp_path: Path) -> None:
    from torchvision.models import inception_v3, resnet50  # type: ignore[import-untyped]

    published = inception_v3(init_weights=False).state_dict()
    uri = _saved(published, tmp_path, "inception_v3.pth")
    model = build_fcn("inceptionv3", uri, 1, 2)
    first, *others = (name for name in published if name.startswith(("Conv2d", "Mixed")))
    own = _encoder(model).state_dict()
    assert all(torch.equal(own[f"model.{name}"], published[name]) for name in others)
    torch.testing.assert_close(own[f"model.{first}"], published[first].sum(dim=1, keepdim=True))
    for encoder, weights in [("inceptionv3", resnet50().state_dict()), ("resnet50", published)]:
        other = _saved(weights, tmp_path, "other.pth")
        with pytest.raises(ConfigurationError, match=r"other\.pth' do not fit model\.encoder") as caught:
            build_fcn(encoder, other, 1, 2)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_encoder_of_one_fcn_serves_another(tmp_path: Path) -> None:
    trained = build_fcn("inceptionv3", None, 1, 2)
    uri = _saved(trained.state_dict(), tmp_path, "model.safetensors")
    other = build_fcn("inceptionv3", uri, 1, 4)
    for key, tensor in _encoder(trained).state_dict().items():
        assert torch.equal(tensor, _encoder(other).state_dict()[key]), key


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04"])
def test_a_damaged_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        build_smp_network("unet", "resnet18", str(tmp_path / name), 1, 1)


def test_a_truncated_file(tmp_path: Path) -> None:
    uri = _saved(_encoder(build_smp_network("unet", "resnet18", None, 1, 1)).state_dict(), tmp_path, "weights.pth")
    Path(uri).write_bytes(Path(uri).read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"weights\.pth"):
        build_smp_network("unet", "resnet18", uri, 1, 1)


def test_something_else_than_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match="something else than names and tensors"):
        build_smp_network("unet", "resnet18", str(tmp_path / "checkpoint.pt"), 1, 1)


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(_Malicious(tmp_path / "executed")))
    with pytest.raises(DataError):
        build_smp_network("unet", "resnet18", str(tmp_path / "weights.pth"), 1, 1)
    assert not (tmp_path / "executed").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none\.pth"):
        build_smp_network("unet", "resnet18", str(tmp_path / "none.pth"), 1, 1)


@pytest.mark.parametrize(
    ("encoder", "near"),
    [("resnet19", "resnet18"), ("efficientnet_b0", "efficientnet-b0"), ("tu-resnet18f", "tu-resnet18d")],
)
def test_an_unknown_encoder_names_the_nearest(encoder: str, near: str) -> None:
    with pytest.raises(ConfigurationError, match=f"model.encoder = '{encoder}'") as caught:
        build_smp_network("unet", encoder, None, 1, 1)
    assert near in caught.value.remedy


def test_an_encoder_without_feature_levels() -> None:
    with pytest.raises(ConfigurationError, match="cannot serve a U-Net"):
        build_smp_network("unet", "tu-vit_tiny_patch16_224", None, 1, 1)


@pytest.mark.parametrize(
    ("network", "encoder", "reason"),
    [
        ("linknet", "mit_b0", "not supported for Linknet"),
        ("fpn", "tu-vit_tiny_patch16_224", "downsampling pattern"),
        ("deeplabv3", "vgg11", "dilated mode"),
        ("deeplabv3plus", "tu-vgg11", "cannot hand out maps"),  # timm says nothing
        ("pan", "densenet121", "dilated mode"),
        ("dpt", "resnet18", "Only Timm encoders"),
        ("dpt", "tu-resnet18", "dynamic_img_size"),
        ("dpt", "tu-vit_small_patch14_dinov2", "dimension"),  # patches that no map of 4, 8, 16, 32 pixels fits
    ],
)
def test_an_encoder_that_cannot_serve_the_network(network: str, encoder: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{encoder}' cannot serve a.*: .*{reason}") as caught:
        build_smp_network(network, encoder, None, 1, 1)
    assert "choose" in caught.value.remedy


@pytest.mark.parametrize("network", ["unet", "unetplusplus", "manet"])
def test_the_decoder_has_the_levels_that_are_named(network: str) -> None:
    model = build_smp_network(network, "resnet18", None, 1, 1, (16, 8, 4))
    assert model.get_submodule("encoder").get_parameter("layer1.0.conv1.weight").requires_grad
    assert not model.get_submodule("encoder").get_parameter("layer4.0.conv1.weight").requires_grad
    with torch.no_grad():
        assert model.eval()(torch.rand(1, 1, 8, 16)).shape == (1, 1, 8, 16)


def test_weights_by_uri_reach_other_networks_than_the_unet(tmp_path: Path) -> None:
    stored = _encoder(build_smp_network("unet", "resnet18", None, 3, 1)).state_dict()
    model = build_smp_network("pspnet", "resnet18", _saved(stored, tmp_path, "resnet18.safetensors"), 1, 1)
    assert torch.equal(model.get_parameter("encoder.layer2.0.conv1.weight"), stored["layer2.0.conv1.weight"])
    assert not model.get_parameter("encoder.layer4.0.conv1.weight").requires_grad


def test_dpt_takes_films_of_another_size_than_its_transformer() -> None:
    model = build_smp_network("dpt", "tu-vit_tiny_patch16_224", None, 1, 2).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, 64, 96)).shape == (1, 2, 64, 96)
    idle = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert "encoder.model.head.weight" in idle
    assert all(".head." in name or ".norm." in name for name in idle)


@pytest.mark.parametrize("weights", ["imagnet", "noisy-student"])
def test_unknown_weights(weights: str) -> None:
    with pytest.raises(ConfigurationError, match=f"model.encoder_weights = '{weights}'") as caught:
        build_smp_network("unet", "resnet18", weights, 1, 1)
    assert "imagenet" in caught.value.remedy


def test_an_encoder_without_imagenet_weights() -> None:
    import timm

    untrained = next(name for name in timm.list_models("resnet*") if not timm.is_model_pretrained(name))
    with pytest.raises(ConfigurationError, match=f"no ImageNet weights of tu-{untrained}"):
        build_smp_network("unet", f"tu-{untrained}", "imagenet", 1, 1)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18d"])
def test_no_way_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"weights of {encoder} .* hub cannot be reached") as caught:
        build_smp_network("unet", encoder, "imagenet", 1, 1)
    assert "URI" in caught.value.remedy


@pytest.mark.parametrize("network", ["unet", "unetplusplus", "manet"])
@pytest.mark.parametrize("decoder_channels", [(16,), (8,) * 6, (64, 32, 0)])
def test_an_impossible_decoder(network: str, decoder_channels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.decoder_channels"):
        build_smp_network(network, "resnet18", None, 1, 1, decoder_channels)
