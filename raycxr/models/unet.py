"""U-Net with any encoder of segmentation-models-pytorch (Ronneberger 2015, arXiv 1505.04597)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import nn

from raycxr.errors import ConfigurationError
from raycxr.models.encoder_weights import load_encoder_weights

_HUB_WEIGHTS = "imagenet"
_PROBE_PIXELS = 224


def build_unet(
    encoder: str,
    encoder_weights: str | None,
    in_channels: int,
    out_channels: int,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
) -> nn.Module:
    """Return a U-Net: logits (B, out_channels, H, W) of films (B, in_channels, H, W).

    Parameters of the encoder that the logits do not depend on are frozen.

    Parameters
    ----------
    encoder : str
        Name of the library, such as ``resnet34``; ``tu-NAME`` is the timm model NAME.
    encoder_weights : str or None
        None (random), ``imagenet`` (from the hub), or the URI of a state dict, see `encoder_weights.py`.
    in_channels, out_channels : int
        Channels of the film and of the logits.
    decoder_channels : sequence of int
        Maps per decoder level, lowest resolution first; their number, 3 to 5, is the depth of the encoder.

    Raises
    ------
    ConfigurationError
        Unknown encoder, an encoder that the depth or the channels do not fit, weights that do not exist, or
        hub weights where the hub cannot be reached.
    """
    # The library takes three seconds to import, which `raycxr --help` and InvertedNet need not pay.
    import segmentation_models_pytorch as smp

    _check_depth(decoder_channels)
    _check_encoder(encoder)
    from_hub = encoder_weights == _HUB_WEIGHTS
    if encoder_weights is not None:
        _check_weights(encoder, encoder_weights)
    try:
        model: nn.Module = smp.Unet(
            encoder_name=encoder,
            encoder_depth=len(decoder_channels),
            # For timm encoders the name says which weights; the library only asks whether to load them.
            encoder_weights=(True if encoder.startswith("tu-") else _HUB_WEIGHTS) if from_hub else None,
            decoder_channels=tuple(decoder_channels),
            in_channels=in_channels,
            classes=out_channels,
        )
    except OSError as error:
        raise ConfigurationError(
            f"model.encoder_weights = 'imagenet': the weights of {encoder} are not in this machine's "
            "cache of the hub, and the hub cannot be reached",
            "give this machine internet access (HF_ENDPOINT names a mirror), put the state dict into your "
            "storage and name its URI, or set model.encoder_weights=null",
        ) from error
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        # The library and timm say in many ways that an encoder cannot hand out the features asked for.
        raise ConfigurationError(
            f"model.encoder = {encoder!r} cannot serve a U-Net of {len(decoder_channels)} decoder levels "
            f"with {in_channels} input channels: {error}",
            "choose another encoder or another number of model.decoder_channels",
        ) from error
    if encoder_weights is not None and not from_hub:
        load_encoder_weights(model.get_submodule("encoder"), encoder_weights, in_channels)
    _freeze_unused(model, in_channels)
    return model


def _freeze_unused(model: nn.Module, in_channels: int) -> None:
    """Freeze what the logits do not depend on, such as the stages of a deeper encoder or a classifier's head.

    Distributed training waits for the gradient of every trainable parameter, and would wait in vain for these.
    """
    probe = copy.deepcopy(model).to("meta").eval()  # shapes and the autograd graph, without computing anything
    try:
        with torch.enable_grad():
            probe(torch.empty(1, in_channels, _PROBE_PIXELS, _PROBE_PIXELS, device="meta")).sum().backward()
    except AssertionError:
        # timm's transformers for one fixed size refuse any other; they hand out nothing unused.
        return
    for parameter, probed in zip(model.parameters(), probe.parameters(), strict=True):
        parameter.requires_grad_(probed.grad is not None)


def _check_depth(decoder_channels: Sequence[int]) -> None:
    if not 3 <= len(decoder_channels) <= 5 or min(decoder_channels) < 1:
        raise ConfigurationError(
            f"model.decoder_channels = {tuple(decoder_channels)} do not make a U-Net",
            "give three to five levels, one positive number of maps each",
        )


def _check_encoder(encoder: str) -> None:
    import timm
    from segmentation_models_pytorch.encoders import get_encoder_names

    if encoder.startswith("tu-"):
        known = [f"tu-{name}" for name in timm.list_models()]
        exists = timm.is_model(encoder.removeprefix("tu-"))
    else:
        known = get_encoder_names()
        exists = encoder in known
    if not exists:
        near = get_close_matches(encoder, [*known, *get_encoder_names()], n=3, cutoff=0.5)
        raise ConfigurationError(
            f"model.encoder = {encoder!r} is not an encoder of segmentation-models-pytorch",
            f"did you mean {', '.join(dict.fromkeys(near))}?" if near else f"some of them: {', '.join(known[:12])}",
        )


def _check_weights(encoder: str, encoder_weights: str) -> None:
    """Refuse hub weights that the encoder lacks, and a word that is neither hub weights nor a file's URI."""
    import timm
    from segmentation_models_pytorch.encoders import encoders

    if encoder_weights == _HUB_WEIGHTS:
        if encoder.startswith("tu-"):
            exists = timm.is_model_pretrained(encoder.removeprefix("tu-"))
        else:
            exists = _HUB_WEIGHTS in encoders[encoder]["pretrained_settings"]
        if not exists:
            raise ConfigurationError(
                f"model.encoder_weights = 'imagenet': the hub has no ImageNet weights of {encoder}",
                "choose another encoder, model.encoder_weights=null, or the URI of a state dict",
            )
    elif "/" not in encoder_weights and "." not in encoder_weights:
        raise ConfigurationError(
            f"model.encoder_weights = {encoder_weights!r} is unknown",
            "choose null, imagenet, or the URI of a state dict (a path or s3://bucket/key)",
        )
