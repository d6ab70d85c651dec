"""What every network of segmentation-models-pytorch (smp) shares: its encoder, with weights and without idle parts.

An encoder is any of the library's, such as ``resnet34``; ``tu-NAME`` is the timm model NAME.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from difflib import get_close_matches

import torch
from torch import nn

from raycxr.errors import ConfigurationError
from raycxr.models.encoder_weights import load_encoder_weights

_HUB_WEIGHTS = "imagenet"
_PROBE_PIXELS = 224


def build_with_encoder(
    network: Callable[..., nn.Module],
    title: str,
    remedy: str,
    encoder: str,
    encoder_weights: str | None,
    in_channels: int,
) -> nn.Module:
    """Return a network of the library with its encoder's weights, and with everything frozen that it does not use.

    Parameters
    ----------
    network : callable
        Makes the network, given `encoder_weights` that the library is to fetch: a name, True (timm), or None.
    title, remedy : str
        What it is, such as ``a U-Net of 5 decoder levels``, and what helps where the encoder cannot serve it.
    encoder : str
        Name of the encoder.
    encoder_weights : str or None
        None (random), ``imagenet`` (from the hub), or the URI of a state dict, see `encoder_weights.py`.
    in_channels : int
        Channels of the film.

    Raises
    ------
    ConfigurationError
        Unknown encoder, an encoder that cannot serve the network, weights that do not exist, or hub weights
        where the hub cannot be reached.
    """
    _check_encoder(encoder)
    from_hub = encoder_weights == _HUB_WEIGHTS
    if encoder_weights is not None:
        _check_weights(encoder, encoder_weights)
    try:
        # For timm encoders the name says which weights; the library only asks whether to load them.
        hub_weights = True if encoder.startswith("tu-") else _HUB_WEIGHTS
        model = network(encoder_weights=hub_weights if from_hub else None)
        _freeze_unused(model, in_channels)
    except OSError as error:
        raise ConfigurationError(
            f"model.encoder_weights = 'imagenet': the weights of {encoder} are not in this machine's "
            "cache of the hub, and the hub cannot be reached",
            "give this machine internet access (HF_ENDPOINT names a mirror), put the state dict into your "
            "storage and name its URI, or set model.encoder_weights=null",
        ) from error
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        # The library and timm say in many ways that an encoder cannot hand out the features asked for.
        detail = str(error) or "it cannot hand out maps of the size that this network needs"
        raise ConfigurationError(
            f"model.encoder = {encoder!r} cannot serve {title} with {in_channels} input channels: {detail}", remedy
        ) from error
    if encoder_weights is not None and not from_hub:
        load_encoder_weights(model.get_submodule("encoder"), encoder_weights, in_channels)
    return model


def _freeze_unused(model: nn.Module, in_channels: int) -> None:
    """Freeze what the logits do not depend on, such as the stages of a deeper encoder or a classifier's head.

    Distributed training waits for the gradient of every trainable parameter, and would wait in vain for these.
    """
    probe = copy.deepcopy(model).to("meta").eval()  # shapes and the autograd graph, without computing anything
    film = torch.empty(1, in_channels, _PROBE_PIXELS, _PROBE_PIXELS, device="meta")
    try:
        with torch.enable_grad():
            logits = probe(film)
            logits.sum().backward()
    except AssertionError:
        # timm's transformers for one fixed size refuse any other; they hand out nothing unused.
        return
    if logits.shape[-2:] != film.shape[-2:]:
        height, width = logits.shape[-2:]
        raise ValueError(f"films of {_PROBE_PIXELS}x{_PROBE_PIXELS} pixels give masks of {height}x{width}")
    for parameter, probed in zip(model.parameters(), probe.parameters(), strict=True):
        parameter.requires_grad_(probed.grad is not None)


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
