"""Encoder weights from a file: a state dict by URI, local or in S3, for clusters without internet.

* Safetensors, or a torch file read with ``weights_only=True``: nothing in it is ever executed.
* The file may hold the encoder alone (as smp, timm and torchvision publish it) or a whole network of raycxr or smp,
  whose encoder is taken.
* timm's models are published under other names than those of the encoders made from them, and with a classifier.
* The first convolution is fitted to the number of input channels.
"""

from __future__ import annotations

import io
import pickle

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from raycxr.errors import ConfigurationError, DataError
from raycxr.storage.location import Location

_HEAD = "segmentation_head."
_ENCODER = "encoder."
_TIMM = "model."


def load_encoder_weights(encoder: nn.Module, uri: str, in_channels: int) -> None:
    """Load a state dict into an encoder in place.

    Parameters
    ----------
    encoder : nn.Module
        Encoder of a segmentation-models-pytorch network.
    uri : str
        ``.safetensors`` or torch file, a local path or ``s3://bucket/key``.
    in_channels : int
        Input channels of the encoder.

    Raises
    ------
    StorageError
        The file cannot be read.
    DataError
        The file is no state dict.
    ConfigurationError
        The weights belong to another architecture.
    """
    own = encoder.state_dict()
    state = _renamed(_of_encoder(read_state_dict(uri)), own)
    fitted = {name: _fit_channels(tensor, own.get(name), in_channels) for name, tensor in state.items()}
    try:
        encoder.load_state_dict(fitted)
    except RuntimeError as error:
        detail = _first_line(str(error).partition("\n")[2])  # behind torch's heading
        raise ConfigurationError(
            f"model.encoder_weights = {uri!r} do not fit model.encoder: {detail}",
            "name the encoder that the weights were trained with, or other weights",
        ) from error


def read_state_dict(uri: str) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` or torch file by name, on the CPU."""
    location = Location(uri)
    data = location.read_bytes()
    try:
        if location.suffix == ".safetensors":
            tensors: dict[str, Tensor] = safetensors.torch.load(data)
            return tensors
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise DataError(
            f"{uri} is damaged, or no state dict that can be read without running code from it",
            "save it with safetensors, or with torch.save(model.state_dict(), ...)",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise DataError(
            f"{uri} holds something else than names and tensors",
            "save it with torch.save(model.state_dict(), ...)",
        )
    return state


def _of_encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not any(name.startswith(_HEAD) for name in state):
        return state
    return {name.removeprefix(_ENCODER): tensor for name, tensor in state.items() if name.startswith(_ENCODER)}


def _renamed(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name what timm or torchvision published as an encoder of the library made from timm's model names it.

    Such an encoder keeps all its tensors under ``model.``, and ``stages.0`` as ``stages_0``. Parts that it has not,
    the classifier before all, are left out: those whose module is nowhere in it, as that of a deeper network is.
    """
    if not all(name.startswith(_TIMM) for name in own) or any(name.startswith(_TIMM) for name in state):
        return state
    own_names = {_plain(name.removeprefix(_TIMM)): name for name in own}
    own_parts = {_plain(name.removeprefix(_TIMM).partition(".")[0]) for name in own}
    renamed = {}
    for name, tensor in state.items():
        words = name.split(".")
        if _plain(name) in own_names:
            renamed[own_names[_plain(name)]] = tensor
        elif any("_".join(words[:count]) in own_parts for count in range(1, len(words))):
            renamed[_TIMM + name] = tensor  # of a part that the encoder has: its weights are others
    return renamed


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _fit_channels(stored: Tensor, own: Tensor | None, in_channels: int) -> Tensor:
    """Spread the first convolution over `in_channels`, so that a grey film gives what it gave before."""
    if own is None or stored.shape == own.shape or stored.ndim != 4 or own.shape[1] != in_channels:
        return stored
    if (stored.shape[0], stored.shape[2:]) != (own.shape[0], own.shape[2:]):
        return stored
    return stored.sum(dim=1, keepdim=True).repeat(1, in_channels, 1, 1) / in_channels


def _first_line(message: str) -> str:
    line = message.strip().partition("\n")[0]
    return line if len(line) <= 160 else line[:157] + "..."
