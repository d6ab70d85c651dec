"""Encoders: films (B, 1, H, W) in, the deepest feature maps (B, C, h, w) out."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raycxr.config.classify import ClassifySection
from raycxr.config.model import ModelSection
from raycxr.errors import ConfigurationError, first_line
from raycxr.models.choices import build_model
from raycxr.models.classic_unet import ClassicUnet
from raycxr.models.inverted_net import InvertedNet
from raycxr.models.res_unet import ResUnet
from raycxr.models.smp_encoder import build_with_encoder
from raycxr.prediction.bundle import load_model
from raycxr.runs.bundle import Bundle, find_bundle

_NO_FEATURES = "choose a bundle of another network, or name classify.encoder"


class DeepestMaps(nn.Module):
    """The last of the feature maps that an encoder of segmentation-models-pytorch hands out."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        """Return maps (B, C, h, w) of films (B, 1, H, W)."""
        maps: Tensor = self.encoder(image)[-1]
        return maps


def load_encoder(section: ClassifySection) -> tuple[nn.Module, Bundle | None]:
    """Return the encoder of a configuration with its first weights, and the bundle that it was taken out of.

    Whether the encoder was frozen in the run of that bundle does not matter: `classify.frozen` decides.

    Raises
    ------
    ConfigurationError
        As `build_encoder` and `encoder_of`.
    DataError
        There is no bundle, or it is damaged.
    """
    if section.bundle is None:
        return build_encoder(section, section.encoder_weights), None
    network, _, bundle = load_model(find_bundle(section.bundle), trainable=True)
    return encoder_of(network, bundle.config.model), bundle


def build_encoder(section: ClassifySection, encoder_weights: str | None) -> nn.Module:
    """Return the encoder that `classify.encoder` names.

    Parameters
    ----------
    encoder_weights : str or None
        As in the configuration; None where the weights are loaded later.

    Raises
    ------
    ConfigurationError
        Unknown encoder, or weights that do not exist, do not fit or cannot be fetched.
    """
    from segmentation_models_pytorch.encoders import get_encoder

    class Network(nn.Module):
        """What `build_with_encoder` fills with weights: maps as large as the film stand for its logits."""

        def __init__(self, encoder_weights: str | bool | None) -> None:
            super().__init__()
            self.encoder = get_encoder(section.encoder, in_channels=1, depth=5, weights=encoder_weights)

        def forward(self, image: Tensor) -> Tensor:
            return F.interpolate(self.encoder(image)[-1], image.shape[-2:])

    assert section.encoder is not None
    try:
        network = build_with_encoder(
            Network, "a classifier", "choose another encoder", section.encoder, encoder_weights, in_channels=1
        )
    except ConfigurationError as error:
        # Written for networks of the section `model`.
        told = (text.replace("model.encoder", "classify.encoder") for text in (error.message, error.remedy))
        raise ConfigurationError(*told) from error
    return DeepestMaps(network.get_submodule("encoder"))


def encoder_of(network: nn.Module, settings: ModelSection) -> nn.Module:
    """Return the encoder of a segmentation network, sharing its weights.

    Raises
    ------
    ConfigurationError
        The network has no path down that ends in features.
    """
    if isinstance(network, ClassicUnet):
        first, *below = network.encoder
        return nn.Sequential(first, *(nn.Sequential(network.pool, level) for level in below))
    if isinstance(network, ResUnet):
        return nn.Sequential(network.stem, *network.encoder, network.bridge)
    if isinstance(network, InvertedNet):
        first, *below = network.encoder
        # Its pool: the maximum of each pixel and its right, lower and lower right neighbours.
        pool = nn.Sequential(nn.ConstantPad2d((0, 1, 0, 1), float("-inf")), nn.MaxPool2d(2, stride=1))
        return nn.Sequential(network.input_norm, first, *(nn.Sequential(pool, level) for level in below))
    encoder = getattr(network, "encoder", None)
    # A vision transformer's encoder (dpt) hands out tokens beside its maps.
    if isinstance(encoder, nn.Module) and hasattr(encoder, "out_channels") and settings.name != "dpt":
        return DeepestMaps(encoder)
    raise ConfigurationError(f"classify.bundle: a {settings.title} has no features for a classifier", _NO_FEATURES)


def rebuild_encoder(section: ClassifySection, settings: ModelSection) -> nn.Module:
    """Return the encoder of a saved classifier with random weights; `settings` is the network it was taken from."""
    if section.bundle is None:
        return build_encoder(section, None)
    # Whether it is trained is told by the classifier, as in `load_encoder`.
    plain = settings.model_copy(update={"encoder_weights": None, "freeze_encoder": False})
    return encoder_of(build_model(plain, 1, 1), settings)


def feature_maps(encoder: nn.Module, size: int) -> int:
    """Return how many maps an encoder makes of films of `size` pixels, without computing anything.

    Raises
    ------
    ConfigurationError
        It cannot take films of this size.
    """
    probe = copy.deepcopy(encoder).to("meta").eval()
    try:
        with torch.no_grad():
            maps: Tensor = probe(torch.empty(1, 1, size, size, device="meta"))
    except (RuntimeError, AssertionError, ValueError) as error:
        first = first_line(error)
        raise ConfigurationError(
            f"the encoder cannot take films of {size}x{size} pixels: {first}", "ingest with another ingest.size"
        ) from error
    return maps.shape[1]


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Hash of a state dict: names, types, shapes and every bit."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
